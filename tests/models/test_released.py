"""Weights of the authors' released code: the same scores afterwards, or a sentence about the file."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from safetensors.torch import save_file

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.training.recommend import load_model, recommender_from
from recbole_cocorr.training.released import import_released, read_state_dict
from tests.conftest import shared_folder
from tests.models.test_cocorrrec import trained
from tests.training.test_checkpoint import Malicious

# Our name of a parameter -> the released one and its shape, as their code makes it ([H, 1, d] for [H, d] and so on).
BLOCK = "ttt.layers.0.seq_modeling_block."
NAMES = {
    "item_embedding.weight": "ttt.embed_tokens.weight",
    "final_norm.weight": "ttt.norm.weight",
    "layers.0.input_norm.weight": "ttt.layers.0.seq_norm.weight",
    "layers.0.ttt.inner_lr_weight": BLOCK + "learnable_ttt_lr_weight",
    "layers.0.ttt.inner_lr_bias": BLOCK + "learnable_ttt_lr_bias",
    "layers.0.ttt.token_scale": BLOCK + "learnable_token_idx",
    "layers.0.ttt.inner_norm_weight": BLOCK + "ttt_norm_weight",
    "layers.0.ttt.inner_norm_bias": BLOCK + "ttt_norm_bias",
    "layers.0.ttt.W0": BLOCK + "W1",
    "layers.0.ttt.b0": BLOCK + "b1",
    "fusion.alpha": BLOCK + "P",
    "fusion.beta": BLOCK + "Q",
}


def released(model) -> dict[str, torch.Tensor]:
    """The model's weights as the authors' code would save them."""
    state = {}
    for ours, value in model.state_dict().items():
        name = NAMES.get(ours)
        if name is None:
            name = ours.replace("layers.0.ttt.", BLOCK).replace("target_transform.", "_target_trans.net.")
            name = name.replace("gcn.attention_net.", BLOCK + "Att_corrnet.")
            name = name.replace("gcn.bias_net.", BLOCK + "b1_corrnet.").replace("gru.", "_gru_cell.")
        if name.endswith(("lr_weight", ".b1", "lr_bias")):
            value = value.unsqueeze(1)
        state[name] = value.reshape(1).clone() if value.dim() == 0 else value.clone()
    return state


def write(state: dict[str, torch.Tensor], path) -> None:
    arrays = {name: value.numpy() for name, value in state.items()}
    if path.name.endswith(".params.npz"):
        arrays = {f"param/{name}": value for name, value in arrays.items()}
        np.savez(path, **arrays, click_seq=np.zeros(3), cfg_names=np.array("d,H"))
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, path)
    else:
        torch.save(state, path)


FILES = pytest.mark.parametrize("name", ["w.npz", "w.params.npz", "w.pt", "w.pth", "w.bin", "w.safetensors"])


@FILES
@pytest.mark.parametrize("target_transform", ["identity", "mlp"])
@pytest.mark.parametrize("use_gcn", [True, False], ids=["gcn", "alone"])
def test_an_imported_model_scores_as_before(tmp_path, capsys, name, use_gcn, target_transform):
    model = trained(use_gcn=use_gcn, target_transform=target_transform, mini_batch_size=5)
    write(released(model), tmp_path / name)
    out = tmp_path / "new" / "ours.safetensors"
    assert main(["import-released", str(tmp_path / name), "--out", str(out), "--length", "7"]) == 0
    assert f"CoCorrRec{'' if use_gcn else ' (w/o GCN)'}, 29 items, d = 16, H = 2, K = 5" in capsys.readouterr().out
    recommender = load_model(out)
    for history in ([3], [5, 2, 9], [1, 2, 3, 4, 5, 6, 7]):
        rows = Interaction(
            {
                "item_id_list": torch.tensor([history + [0] * (7 - len(history))]),
                "item_length": torch.tensor([len(history)]),
            }
        )
        expected = model.full_sort_predict(rows)[0, 1:].detach()
        result = recommender.recommend([str(i) for i in history], k=100)
        scores = dict(zip(result.items, result.scores, strict=True))
        ours = torch.tensor([scores[str(i)] for i in range(1, 30)], dtype=torch.float64)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_the_authors_own_outputs(tmp_path):
    """Logits of their implementation, from the folder of reference data."""
    files = sorted(shared_folder("conformance").glob("*.npz"))
    assert files
    for file in files:
        with np.load(file) as archive:
            size = dict(zip(("d", "H", "K", "L", "B", "V"), archive["cfg"].tolist(), strict=True))
            item_seq, lengths = torch.from_numpy(archive["click_seq"]), torch.from_numpy(archive["lengths"])
            items, logits = torch.from_numpy(archive["target_id"]), torch.from_numpy(archive["out_f64/logits"])
        out = tmp_path / "out.safetensors"
        assert main(["import-released", str(file), "--out", str(out), "--length", str(size["L"])]) == 0
        recommender = load_model(out)
        rows = Interaction({"item_id_list": item_seq, "item_length": lengths, "item_id": items})
        scores = recommender.model.predict(rows).detach().double()
        # Their correction reads padding; without it the two agree on every row that has a click.
        agree = lengths == size["L"] if recommender.config["use_gcn"] else lengths > 0
        assert agree.any()
        torch.testing.assert_close(scores[agree], logits[agree], rtol=0, atol=1e-4)


def test_without_a_length_it_is_the_mini_batch_size(tmp_path):
    write(released(trained(mini_batch_size=5)), tmp_path / "w.pt")
    assert main(["import-released", str(tmp_path / "w.pt")]) == 0
    assert load_model(tmp_path / "w.safetensors").config["MAX_ITEM_LIST_LENGTH"] == 5


def test_items_get_their_tokens(tmp_path):
    write(released(trained()), tmp_path / "w.pt")
    # A separator that str.splitlines knows is part of a token here.
    tokens = [f"B{i:03}" for i in range(28)] + ["d\u00e9j\u00e0\u2028vu"]
    for end in ("", "\n"):
        (tmp_path / "items.txt").write_text("\n".join(tokens) + end, encoding="utf-8")
        assert main(["import-released", str(tmp_path / "w.pt"), "--items", str(tmp_path / "items.txt")]) == 0
        recommender = load_model(tmp_path / "w.safetensors")
        assert recommender.vocabulary.items == ["[PAD]", *tokens]
        assert set(recommender.recommend([tokens[-1]], k=100).items) == set(tokens)


# -- what is refused ----------------------------------------------------------------------------


def refused(capsys, *arguments) -> str:
    assert main(["import-released", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, "one sentence, no traceback"
    assert not captured.out
    return captured.err


def test_items_that_do_not_fit(tmp_path, capsys):
    write(released(trained()), tmp_path / "w.pt")
    items = tmp_path / "items.txt"
    assert "there is no list of item tokens" in refused(capsys, tmp_path / "w.pt", "--items", items)
    items.write_text("a\nb\n")
    assert "2 item tokens are given, but" in refused(capsys, tmp_path / "w.pt", "--items", items)
    items.write_text("\n".join(["a", "b", "a"] * 10))
    assert "holds the token 'a' more than once" in refused(capsys, tmp_path / "w.pt", "--items", items)
    items.write_bytes(b"\xff\xfe\x00")
    assert "line 1 is not UTF-8 text" in refused(capsys, tmp_path / "w.pt", "--items", items)
    assert "--length is 0" in refused(capsys, tmp_path / "w.pt", "--length", 0)
    assert not (tmp_path / "w.safetensors").exists()


def test_the_source_is_not_overwritten(tmp_path, capsys):
    write(released(trained()), tmp_path / "w.safetensors")
    assert "would overwrite" in refused(capsys, tmp_path / "w.safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".npz"])
def test_a_malicious_pickle_is_not_run(tmp_path, capsys, suffix):
    path, marker = tmp_path / f"w{suffix}", tmp_path / "marker"
    for content in ({"state_dict": Malicious(marker)}, Malicious(marker)):
        if suffix == ".npz":
            np.savez(path, x=np.array([content], dtype=object))
        else:
            torch.save(content, path)
        refused(capsys, path)
        path.write_bytes(pickle.dumps(content))
        refused(capsys, path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"hello", b"\x80\x04\x95"])
def test_bytes_of_no_format(tmp_path, capsys, suffix, content):
    (tmp_path / f"w{suffix}").write_bytes(content)
    assert f"w{suffix} " in refused(capsys, tmp_path / f"w{suffix}", "--out", tmp_path / "out.safetensors")


def test_truncated_files(tmp_path, capsys):
    for name in ("w.pt", "w.npz", "w.safetensors"):
        write(released(trained()), tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for part in (len(whole) // 3, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:part])
            refused(capsys, tmp_path / name, "--out", tmp_path / "out.safetensors")


def test_files_of_other_things(tmp_path, capsys):
    assert "there is no file" in refused(capsys, tmp_path / "none.pt")
    assert "ends in ''; a state dict is" in refused(capsys, tmp_path)
    (tmp_path / "w.txt").write_text("x")
    assert "ends in '.txt'; a state dict is a .pt, .npz or .safetensors file" in refused(capsys, tmp_path / "w.txt")
    for content, sentence in (
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"state_dict": {"x": 3}}, "the entry 'x' is no tensor but a int"),
        ({"x": torch.ones(2, 2).to_sparse()}, "the tensor 'x' cannot be read as an array"),
        ({"x": torch.ones(2)}, "is no state dict of the released model: the released model has no parameter 'x'"),
    ):
        torch.save(content, tmp_path / "w.pt")
        assert sentence in refused(capsys, tmp_path / "w.pt")
    with (tmp_path / "w.npz").open("wb") as file:  # one array, not an archive of them
        np.save(file, np.ones(3))
    refused(capsys, tmp_path / "w.npz")


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.ones(3), torch.ones(3, 3, 3, 3), torch.ones(0)])
def test_an_array_of_another_shape(value):
    """Whichever it is, its shape is not what the other arrays ask for."""
    state = {name: array.numpy() for name, array in released(trained(target_transform="mlp")).items()}
    for name in state:
        if value.numel() == 1 and name.endswith((".P", ".Q")):
            continue  # one number is what these are
        with pytest.raises(UserError, match=r"w\.pt|CoCorrRec cannot be built"):
            recommender_from(import_released({**state, name: value.numpy()}, "w.pt", [], None), "w.pt", "cpu")


def test_a_missing_array_is_named():
    state = {name: array.numpy() for name, array in released(trained(target_transform="mlp")).items()}
    optional = ("_target_trans", BLOCK + "Att", BLOCK + "b1_", BLOCK + "P", BLOCK + "Q")
    for name in state:
        left = {k: v for k, v in state.items() if k != name}
        with pytest.raises(UserError, match=r"w\.pt is no state dict of the released model: .* is missing"):
            import_released(left, "w.pt", [], None)
    device_only = {k: v for k, v in state.items() if not k.startswith(optional)}
    assert import_released(device_only, "w.pt", [], None).config["use_gcn"] is False


def test_half_precision_files_are_read(tmp_path):
    state = {name: value.bfloat16() for name, value in released(trained()).items()}
    for name in ("w.pt", "w.safetensors"):
        if name == "w.pt":
            torch.save(state, tmp_path / name)
        else:
            save_file(state, tmp_path / name)
        for array in read_state_dict(tmp_path / name).values():
            assert array.dtype == np.float32


EMBEDDING = NAMES["item_embedding.weight"]


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused(tmp_path, capsys, suffix, dtype):
    state = released(trained())
    state[EMBEDDING] = state[EMBEDDING].to(dtype)
    write(state, tmp_path / f"w.{suffix}")
    kind = str(dtype).removeprefix("torch.")
    assert f"'{EMBEDDING}' is {kind}; a weight is float32" in refused(capsys, tmp_path / f"w.{suffix}")


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_refused(tmp_path, capsys, suffix, value):
    """1e300 is finite in the file, and not in float32."""
    state = {name: t.double() for name, t in released(trained()).items()}
    state[EMBEDDING][2, 3] = value
    write(state, tmp_path / f"w.{suffix}")
    assert f"'{EMBEDDING}' holds NaN or infinity" in refused(capsys, tmp_path / f"w.{suffix}")


def test_a_file_that_claims_to_be_huge_is_refused(tmp_path, capsys):
    """A view repeats one number 10^12 times; an archive of a megabyte unpacks to five gigabytes."""
    state = released(trained())
    torch.save({**state, EMBEDDING: torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "w.pt")
    assert "larger than what the file holds" in refused(capsys, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"")
        archive.getinfo("a.npy").file_size = 5 << 30
    assert "unpacks to more than 4 GiB" in refused(capsys, tmp_path / "w.npz")


def test_a_byte_order_mark_is_no_part_of_a_token(tmp_path):
    model = trained()
    write(released(model), tmp_path / "w.pt")
    tokens = "\r\n".join(f"t{i}" for i in range(1, 30))
    (tmp_path / "items.txt").write_bytes(b"\xef\xbb\xbf" + tokens.encode() + b"\r\n")
    out = tmp_path / "o.safetensors"
    assert (
        main(["import-released", str(tmp_path / "w.pt"), "--items", str(tmp_path / "items.txt"), "--out", str(out)])
        == 0
    )
    assert load_model(out).vocabulary.items[1:] == [f"t{i}" for i in range(1, 30)]
