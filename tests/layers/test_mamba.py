"""The chunked selective scan and the Mamba block against loops over clicks: output, last state, every gradient."""

import sys

import pytest
import torch

from recbole_cocorr.layers import mamba
from recbole_cocorr.layers import selective_scan as module
from recbole_cocorr.layers.mamba import Mamba, MambaState
from recbole_cocorr.layers.selective_scan import selective_scan
from tests.layers.test_fast_paths import assert_same, gradients, shaken
from tests.reference.mamba_naive import naive_mamba, naive_scan


def scan_inputs(rows, length, channels, states):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    parts = [
        random(rows, length, channels),
        random(rows, length, channels).exp(),
        -random(channels, states).exp(),
        random(rows, length, states),
        random(rows, length, states),
        random(channels),
        random(rows, channels, states),
    ]
    return [p.requires_grad_() for p in parts]


@pytest.mark.parametrize("block", [1, 40, 1 << 19])
@pytest.mark.parametrize(
    ("rows", "length", "channels", "states"),
    [(1, 1, 1, 1), (3, 2, 4, 2), (2, 10, 3, 5), (4, 17, 2, 3), (1, 50, 2, 2), (2, 40, 3, 2)],
)
def test_the_scan_is_the_loop(monkeypatch, rows, length, channels, states, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    parts = scan_inputs(rows, length, channels, states)
    for number in (0, 1):  # outputs and last state, of which each has gradients of its own
        fast, slow = selective_scan(*parts)[number], naive_scan(*parts)[number]
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
        assert_same(gradients(fast, *parts), gradients(slow, *parts))


@pytest.mark.parametrize("block", [8, 1 << 19])
def test_gradcheck(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    assert torch.autograd.gradcheck(selective_scan, scan_inputs(2, 5, 2, 2))


def test_great_decays_stay_finite():
    parts = scan_inputs(2, 300, 3, 2)
    with torch.no_grad():
        parts[1].mul_(1e3)
    y, last = selective_scan(*parts)
    assert all(torch.isfinite(t).all() for t in (y, last, *gradients(y, *parts)[:5]))


def test_a_scan_in_two_parts_is_the_whole():
    u, delta, A, B, C, D, start = scan_inputs(3, 11, 2, 4)
    whole, last = selective_scan(u, delta, A, B, C, D, start)
    first, state = selective_scan(u[:, :4], delta[:, :4], A, B[:, :4], C[:, :4], D, start)
    second, end = selective_scan(u[:, 4:], delta[:, 4:], A, B[:, 4:], C[:, 4:], D, state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(end, last)


def test_nothing_to_scan():
    u, delta, A, B, C, D, start = scan_inputs(3, 4, 2, 4)
    y, last = selective_scan(u[:, :0], delta[:, :0], A, B[:, :0], C[:, :0], D, start)
    assert y.shape == (3, 0, 2) and torch.equal(last, start)
    assert selective_scan(u[:0], delta[:0], A, B[:0], C[:0], D)[0].shape == (0, 4, 2)


def block(d_model=6, d_state=3, d_conv=4, expand=2) -> Mamba:
    torch.manual_seed(0)
    return shaken(Mamba(d_model, d_state, d_conv, expand).double())


def clicks(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("length", "d_conv", "expand"), [(1, 4, 2), (3, 4, 1), (7, 2, 2), (5, 1, 2)])
def test_the_block_is_the_papers(length, d_conv, expand):
    mamba, x = block(d_conv=d_conv, expand=expand), clicks(2, length, 6)
    fast, slow = mamba(x), torch.stack([naive_mamba(mamba, row) for row in x])
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    parameters = [x, *mamba.parameters()]
    assert_same(gradients(fast, *parameters), gradients(slow, *parameters))


@pytest.mark.parametrize("d_conv", [1, 2, 4])
@pytest.mark.parametrize("cut", [0, 1, 2, 6, 8])
def test_steps_and_a_state_handed_over(cut, d_conv):
    mamba, x = block(d_conv=d_conv), clicks(3, 9, 6)
    whole, last = mamba(x, return_state=True)
    torch.testing.assert_close(mamba(x), whole)
    head, state = mamba(x[:, :cut], return_state=True)
    tail, end = mamba(x[:, cut:], state, return_state=True)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    kept = MambaState(state.conv.clone(), state.ssm.clone())
    for t in range(cut, 9):
        output, state = mamba.step(x[:, t], state)
        torch.testing.assert_close(output, whole[:, t])
        if t == cut:
            once = mamba.step(x[:, t], kept)[0]
            torch.testing.assert_close(once, output)
    for found in (end, state):
        torch.testing.assert_close(found.ssm, last.ssm)
        torch.testing.assert_close(found.conv, last.conv)
    steps = [output.sum(), *(p.sum() for p in (state.ssm, state.conv))]
    loop = [whole[:, -1].sum(), last.ssm.sum(), last.conv.sum()]
    assert_same(gradients(sum(steps), x, *mamba.parameters()), gradients(sum(loop), x, *mamba.parameters()))


def test_no_output_depends_on_a_later_click():
    mamba, x = block(), clicks(1, 8, 6)
    (gradient,) = torch.autograd.grad(mamba(x)[:, 3].sum(), x)
    assert (gradient[:, 4:] == 0).all() and (gradient[:, :4] != 0).any(dim=2).all()


def test_names_and_shapes_are_mamba_ssms():
    """What ``mamba_ssm.Mamba(64, d_state=32, d_conv=4, expand=2).state_dict()`` holds."""
    shapes = {name: tuple(t.shape) for name, t in Mamba(64, 32, 4, 2).state_dict().items()}
    assert shapes == {
        "A_log": (128, 32),
        "D": (128,),
        "in_proj.weight": (256, 64),
        "conv1d.weight": (128, 1, 4),
        "conv1d.bias": (128,),
        "x_proj.weight": (68, 128),
        "dt_proj.weight": (128, 4),
        "dt_proj.bias": (128,),
        "out_proj.weight": (64, 128),
    }


def test_step_sizes_start_in_their_range():
    step = torch.nn.functional.softplus(Mamba(64).dt_proj.bias)
    assert 0.0009 < step.min() < step.max() < 0.11


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_finite(dtype):
    mamba, x = Mamba(8, 4), torch.randn(2, 5, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        out = mamba(x)
    torch.testing.assert_close(out.float(), mamba(x), rtol=0.05, atol=0.05)
    out.float().sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("sizes", [(0, 1, 1, 1), (4, 0, 1, 1), (4, 1, 0, 1), (4, 1, 1, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        Mamba(*sizes)


class _OnAGpu(torch.Tensor):
    """Says that it lies on a GPU."""

    is_cuda = True


@pytest.fixture
def without_a_cache():
    mamba.fused_block.cache_clear()
    yield
    mamba.fused_block.cache_clear()


def installed(folder, monkeypatch, kernel: str) -> None:
    """Packages with the names of mamba-ssm and causal-conv1d."""
    for name, text in {"causal_conv1d": "", "mamba_ssm": "", "mamba_ssm/ops": ""}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text)
    (folder / "mamba_ssm" / "ops" / "selective_scan_interface.py").write_text(kernel)
    monkeypatch.syspath_prepend(folder)
    for name in ("causal_conv1d", "mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_kernels_that_cannot_be_imported_are_named_once(tmp_path, monkeypatch, caplog, without_a_cache):
    installed(tmp_path, monkeypatch, "raise ImportError('undefined symbol: c10')")
    made, x = block().float(), clicks(2, 5, 6).detach().float()
    plain = made(x)
    for _ in range(2):
        assert made(x.as_subclass(_OnAGpu)).equal(plain)
    assert [r.getMessage() for r in caplog.records] == [
        "mamba-ssm and causal-conv1d are installed, but cannot be imported (undefined symbol: c10); "
        "Mamba runs without their kernels"
    ]


@pytest.mark.parametrize(
    ("sizes", "dtype", "taken"),
    [
        ({}, torch.float32, True),
        ({}, torch.bfloat16, True),
        ({}, torch.float64, False),
        ({"d_conv": 5}, torch.float32, False),
        ({"d_conv": 1}, torch.float32, False),
        ({"d_state": 257}, torch.float32, False),
    ],
)
def test_kernels_are_asked_for_what_they_know(tmp_path, monkeypatch, without_a_cache, sizes, dtype, taken):
    installed(tmp_path, monkeypatch, "def mamba_inner_fn(*a, **k): return 'fused'")
    made = block(**sizes).to(dtype)
    assert made.is_fusable(torch.zeros(2, 5, 6, dtype=dtype).as_subclass(_OnAGpu)) is taken
    assert not made.is_fusable(torch.zeros(2, 5, 6, dtype=dtype))
    assert not made.is_fusable(torch.zeros(0, 5, 6, dtype=dtype).as_subclass(_OnAGpu))
    assert not isinstance(made(torch.zeros(2, 5, 6, dtype=dtype)), str)
