"""The average of the weights is a plain loop's over the steps, and it is what is validated, tested and saved."""

import pytest
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.training.checkpoint import load_checkpoint, save_checkpoint
from tests.training.test_trainer import prepare

SETTINGS = {"epochs": 3, "dropout_prob": 0.3, "train_batch_size": 40, "stopping_step": 9}


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec"])
@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_is_that_of_a_plain_loop(make_config, name, decay):
    plain, (train, _, _) = prepare(make_config(name, **SETTINGS))
    steps, parameters = [], dict(plain.model.named_parameters())
    plain.optimizer.register_step_pre_hook(
        lambda *_: None if steps else steps.append({k: p.detach().double() for k, p in parameters.items()})
    )
    plain.optimizer.register_step_post_hook(
        lambda *_: steps.append({k: p.detach().double() for k, p in parameters.items()})
    )
    plain.fit(train)
    expected = steps[1]  # the average begins with the first step
    for n, now in enumerate(steps[2:], start=2):
        keep = min(decay, n / (n + 9))
        expected = {k: keep * old + (1 - keep) * now[k] for k, old in expected.items()}
    averaged, (train, _, test) = prepare(make_config(name, weight_average=decay, **SETTINGS))
    averaged.fit(train)
    assert len(steps) > 10
    for key, parameter in averaged.model.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), expected[key], rtol=1e-4, atol=1e-6)
    saved = load_checkpoint(averaged.saved_model_file).weights
    assert all(torch.equal(saved[k], p) for k, p in averaged.model.named_parameters())
    other = averaged.evaluate(test)
    assert other == averaged.evaluate(test, model_file=averaged.saved_model_file)


@pytest.mark.parametrize("value", [0, 1, -0.5, "much", True, float("nan")])
def test_what_is_no_decay(make_config, value):
    with pytest.raises(UserError, match="it must be a number above 0 and below 1, such as"):
        make_config(weight_average=value)


def test_a_state_that_lacks_its_own_weights(make_config, tmp_path):
    trainer, (train, valid, _) = prepare(make_config(weight_average=0.9, epochs=1))
    trainer.fit(train, valid)
    state = load_checkpoint(trainer.training_state_file)
    for damage, sentence in [
        (lambda s: s.tensors.pop("own.final_norm.weight"), "lacks own.final_norm.weight, which a training with"),
        (lambda s: s.training.pop("averaged_steps"), "averaged_steps"),
        (lambda s: s.tensors.update({"own.final_norm.weight": torch.ones(3)}), "final_norm.weight has shape"),
    ]:
        broken = load_checkpoint(trainer.training_state_file)
        damage(broken)
        save_checkpoint(tmp_path / "broken.training.safetensors", broken)
        again, _ = prepare(make_config(weight_average=0.9, epochs=2))
        with pytest.raises(UserError, match=sentence):
            again.resume_checkpoint(str(tmp_path / "broken.training.safetensors"))
    assert state.training["averaged_steps"] > 0
