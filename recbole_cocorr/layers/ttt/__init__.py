"""The TTT-Linear layer: a recurrent layer whose hidden state is a linear model, trained on the clicks it reads.

"Learning to (Learn at Test Time)", arXiv 2407.04620, as the SCN of CoCorrRec (arXiv 2506.12687) uses it. The letters,
here and in the whole package, with the equations of the CoCorrRec paper (``eqs.``) and the section and point of
design/model.md that write them out:

========  ===========================================================================  =====  ========
letter    meaning                                                                      eqs.   model.md
========  ===========================================================================  =====  ========
B, L      rows of a batch (users), clicks of a row
d         width of the hidden states (``hidden_size``)
H, f      heads (``num_heads``); width of a head, f = d / H
K         clicks of a mini-batch, from which the layer learns together
R, C      queries and keys of one mini-batch; both are at most K
X         the layer's input [B, L, d]; for the first layer what the device uploads     8      1.1
q, k, v   queries Q, keys K, values V of the clicks; RoPE turns q and k by their slot  9-10   1.2-1.3
slot      number of clicks before this one in its mini-batch, 0 .. K - 1                      1.3
lr        inner learning rate of a click: base_lr / f * sigmoid(gate)                         1.4
tau       step of slot i - 1: max(0, 1 / i + p_i), p learned (``token_scale``)                1.4
eta       eta[i, j] = tau_i * lr_j                                                     6-7    1.4
W, b      inner model of a head [f, f], [f] when a mini-batch starts; first W0, b0     1-3    1.5
Z         K W + b, what the inner model predicts for the keys                          1-3    1.5
G         gradient of the inner loss with respect to Z, at W and b                     4-5    1.5
g         lr * G, the scaled gradient of a click (``gradients``)                              1.7
A         tril(Q K^T), what a query weighs the gradients with                          6-7    1.6
bbar      b - tau S_b, the bias that a query reads                                     6-7    1.6
Zbar      Q W - tau (A g) + bbar; the output of a head is q + LN(Zbar)                 6-7    1.6
W', b'    W - tau_K S_W, b - tau_K S_b: W and b of the next mini-batch                 6-7    1.6
S_W, S_b  running sums of k^T g and of g over the clicks of the mini-batch                    1.7
O         the block's output: LayerNorm of the heads side by side, projected           11     1.8
A^, B^    the correction from the cloud, of the shapes of A and bbar                   13     2.2
alpha     weight of A^, after A^ has the moments of A                                  14-15  2.3-2.4
beta      weight of B^, after B^ has the moments of bbar                               14-15  2.3-2.4
========  ===========================================================================  =====  ========

``gamma`` and ``beta`` of an inner norm are its scale and shift, as in every LayerNorm.

Modules, each of which imports only from those above it:

* ``rope``, ``inner_gradient``, ``equations``: the arithmetic, each equation once.
* ``state``: what a device holds between two clicks.
* ``weights``: the parameters, and what a click becomes by them.
* ``mini_batches``, ``dual``, ``dual_from_state``, ``one_mini_batch``, ``last``, ``step``: the forms. All give the same
  numbers; they differ in which clicks they read at once.
* ``layer``: :class:`~recbole_cocorr.layers.ttt.layer.TTTLinear`, which checks its input and calls a form.

Inside, tensors are [H, B, ...]: with heads first, a matrix product with the shared initial weights W0 is one product
per head instead of one per row and head.
"""
