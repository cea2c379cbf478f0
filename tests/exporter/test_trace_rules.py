"""Each rule of a trace by itself: what it makes of a call, and why it declines another."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher

from pocketrnn_export.torch_internals import make_unknown_size_mode, make_unknown_size_tensor, read_size_expression
from pocketrnn_export.tracing.module_trace import make_export_session
from pocketrnn_export.tracing.python_semantics.loops_cut_to_few_iterations import ITERATIONS, Positions, Slices
from pocketrnn_export.tracing.python_semantics.traced_arrays import TracedArray
from pocketrnn_export.tracing.rules import (
    asserts_and_equality_tests as asserts,
)
from pocketrnn_export.tracing.rules import (
    embedding_bags,
    evenly_spaced_numbers,
    interpolation,
    lengths,
    order_statistics_and_search,
    pooling,
)
from pocketrnn_export.tracing.rules import (
    loop_iterations_over_sizes as loops,
)
from pocketrnn_export.tracing.rules import (
    slices_pads_and_given_sizes as slices,
)
from pocketrnn_export.tracing.rules import (
    tensor_new_and_squeeze as new_and_squeeze,
)
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.sizes.trace_plan_and_branches import Branch
from pocketrnn_export.tracing.trace_session import (
    Call,
    DeclinedRule,
    Loop,
    Rule,
    Topic,
    TraceSession,
    decline_call,
    rule,
)

BRANCH = Branch(Sizes(3, 7))


class Traced:
    """Tensors of a trace of tokens [batch, sequence], whose sizes are unknown, and a session that knows them."""

    def __init__(self, **options: Any) -> None:
        self.mode = make_unknown_size_mode()
        self.tokens = make_unknown_size_tensor(self.mode, torch.zeros(3, 7, dtype=torch.int64), 2)
        self.lengths = make_unknown_size_tensor(self.mode, torch.tensor([7, 5, 3]), 1)
        self.session = TraceSession(nn.Identity(), **options)
        self.session.names = {
            str(read_size_expression(self.tokens.shape[0])): "batch",
            str(read_size_expression(self.tokens.shape[1])): "tokens",
        }
        self.session.widths = (self.tokens.shape[1],)
        self.session.branch = next(iter(self.session.branches), None)
        self.session.facts.record_facts(self.lengths, lengths="given", whole=True)

    @property
    def steps(self) -> Tensor:
        """Float [batch, sequence, 5]."""
        return self.tokens.unsqueeze(2).expand(*self.tokens.shape, 5).to(torch.float32)

    def in_a_loop(self, iteration: int = 1) -> Traced:
        self.session.loops = [Loop(self.tokens.shape[1], "model.py:3: `for t in range(x.size(1)):`")]
        self.session.running = [(0, iteration)]
        return self


@pytest.fixture
def traced() -> Iterator[Callable[..., Traced]]:
    """Makes a `Traced`, in whose trace the test is from then on: nothing is computed."""
    with contextlib.ExitStack() as stack:

        def begun(**options: Any) -> Traced:
            of = Traced(**options)
            stack.enter_context(of.mode)
            stack.enter_context(enable_python_dispatcher())
            return of

        yield begun


def axes_of(value: Tensor, of: Traced) -> list[str]:
    """A shape in the words of the session: `tokens`, `Min(5, tokens)`, `5`."""
    return [
        str(of.session.express_size_by_batch_and_tokens(size) if isinstance(size, torch.SymInt) else size)
        for size in value.shape
    ]


def test_a_slice_is_cut_for_every_size(traced: Callable[..., Traced]) -> None:
    of = traced(branches=[BRANCH])
    found = slices.rewrite_slices_as_cuts(of.session, of.tokens, (slice(None), slice(None, 5)))
    assert axes_of(found, of) == ["batch", "Min(5, tokens)"]
    assert axes_of(slices.rewrite_narrow_as_cut(of.session, of.tokens, 1, 0, 5), of)[1] == "Min(5, tokens)"
    assert [axes_of(part, of)[1] for part in slices.rewrite_split_as_one_chunk(of.session, of.tokens, 4, 1)] == [
        "tokens"
    ]
    assert len(slices.rewrite_chunk_as_cuts(of.session, of.tokens, 3, 1)) == 3
    assert [str(one.condition.relation) for one in of.session.log.questions]


def test_a_pad_by_a_size_pads_by_nothing_where_the_branch_says_so(
    traced: Callable[..., Traced], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = 4
    cuts = traced(branches=[BRANCH])
    amounts = (0, missing - cuts.tokens.shape[1])
    said = slices.rewrite_pad_with_amounts_from_zero(cuts.session, cuts.tokens, amounts)
    assert isinstance(said, DeclinedRule)
    assert "negative amount" in said.reason
    assert cuts.session.log.pads == 1
    cuts.session.branch = Branch(Sizes(3, 7), pads_from_zero=True)
    given: list[Any] = []
    monkeypatch.setattr(nn.functional, "pad", lambda _, amounts: given.extend(amounts))
    slices.rewrite_pad_with_amounts_from_zero(cuts.session, cuts.tokens, (0, missing - cuts.tokens.shape[1]))
    assert [str(cuts.session.express_size_by_batch_and_tokens(n)) for n in given[1:]] == ["Max(0, 4 - tokens)"]


def test_a_step_of_a_loop_restricts_no_size(traced: Callable[..., Traced]) -> None:
    of = traced().in_a_loop()
    assert axes_of(loops.rewrite_index_as_steps(of.session, of.steps, (slice(None), 1)), of) == ["batch", "5"]
    assert axes_of(loops.rewrite_index_as_steps(of.session, of.steps, (slice(None), slice(1, 2))), of) == [
        "batch",
        "1",
        "5",
    ]
    assert axes_of(loops.rewrite_select_as_step(of.session, of.steps, 1, -1), of) == ["batch", "5"]
    assert isinstance(loops.rewrite_unbind_as_steps(of.session, of.steps, 1), Slices)
    assert isinstance(loops.rewrite_split_as_steps(of.session, of.steps, 1, dim=1), Slices)
    assert isinstance(loops.rewrite_chunk_as_steps(of.session, of.steps, of.tokens.shape[1], 1), Slices)


def test_what_each_iteration_made_is_stacked_for_all(traced: Callable[..., Traced]) -> None:
    of = traced().in_a_loop()
    made = [loops.rewrite_index_as_steps(of.session, of.steps, (slice(None), t)) for t in range(ITERATIONS)]
    for t, value in enumerate(made):
        of.session.facts.record_facts(value, iteration=(0, t))
    assert axes_of(loops.rewrite_stack_of_iterations(of.session, made, 1), of) == ["batch", "tokens", "5"]
    assert axes_of(loops.rewrite_stack_of_iterations(of.session, made[::-1], 1), of) == ["batch", "tokens", "5"]
    with_axis = [
        loops.rewrite_index_as_steps(of.session, of.steps, (slice(None), slice(t, t + 1))) for t in range(ITERATIONS)
    ]
    for t, value in enumerate(with_axis):
        of.session.facts.record_facts(value, iteration=(0, t))
    assert axes_of(loops.rewrite_cat_of_iterations(of.session, with_axis, 1), of) == ["batch", "tokens", "5"]
    assert isinstance(loops.rewrite_stack_of_iterations(of.session, [made[0], made[2], made[1], made[3]]), DeclinedRule)


def test_lengths_stay_tensors(traced: Callable[..., Traced]) -> None:
    of = traced()
    for answer in (
        lengths.rewrite_numpy_as_traced_array(of.session, of.lengths),
        lengths.rewrite_tolist_as_traced_array(of.session, of.lengths),
    ):
        assert isinstance(answer, TracedArray)
        assert answer.tensor is of.lengths
    assert lengths.rewrite_tensor_of_traced_values(of.session, of.lengths, dtype=torch.float32).dtype == torch.float32
    assert lengths.rewrite_tensor_of_traced_values(of.session, [of.tokens.shape[1], 2]).shape == (2,)
    number = torch.zeros((), dtype=torch.int64)
    assert lengths.rewrite_item_as_width_or_tensor(of.session, number) is number


@pytest.mark.parametrize(
    ("call", "known"),
    [
        (lambda x: Call(Tensor.cpu, (x,)), "given"),
        (lambda x: Call(Tensor.neg, (x,)), "negated"),
        (lambda x: Call(Tensor.max, (x,)), "longest"),
        (lambda x: Call(Tensor.sort, (x,), {"descending": True}), "falling"),
        (lambda x: Call(Tensor.sort, (x,)), "rising"),
        (lambda x: Call(Tensor.clamp, (x,), {"min": 1}), ""),
        (lambda x: Call(Tensor.add, (x, 1)), ""),
    ],
)
def test_what_is_known_of_lengths_goes_on_to_what_is_made_of_them(
    traced: Callable[..., Traced], call: Callable[[Tensor], Call], known: str
) -> None:
    of = traced()
    made = call(of.lengths)
    result = made.run()
    lengths.record_how_result_follows_from_lengths(of.session, made, result)
    lengths.record_that_result_has_full_width(of.session, made, result)
    first = result[0] if isinstance(result, tuple) else result
    assert of.session.facts.find_fact(first).lengths == known
    assert of.session.facts.find_fact(first).whole == (made.name in {"cpu", "sort", "clamp"})


def test_a_fact_is_of_one_tensor_for_as_long_as_the_trace_lasts(traced: Callable[..., Traced]) -> None:
    of = traced()
    for _ in range(50):
        # Each is gone before the next one is made, which may then have its identity.
        of.session.facts.record_facts(torch.zeros(3), iteration=(0, 0))
        assert of.session.facts.find_fact(torch.zeros(3)).iteration is None
    assert of.session.facts.find_fact("no tensor").lengths == ""


@pytest.mark.parametrize(
    "write",
    [
        lambda x: Call(Tensor.clamp_, (x,), {"max": 5}),
        lambda x: Call(Tensor.__setitem__, (x, 0, 1)),
        lambda x: Call(Tensor.__isub__, (x, 1)),
        lambda x: Call(Tensor.sub_, (x[1:], 1)),
    ],
)
def test_nothing_is_known_of_lengths_that_were_written_into(
    traced: Callable[..., Traced], write: Callable[[Tensor], Call]
) -> None:
    of = traced()
    other = of.lengths.neg()
    of.session.facts.record_facts(other, lengths="negated")
    made = write(of.lengths)
    lengths.record_how_result_follows_from_lengths(of.session, made, made.run())
    assert of.session.facts.find_fact(of.lengths).lengths == ""
    assert not of.session.facts.find_fact(of.lengths).whole
    assert of.session.facts.find_fact(other).lengths == "negated"


def test_pools_over_a_size_are_reductions(traced: Callable[..., Traced]) -> None:
    of = traced()
    channels = of.steps.transpose(1, 2)
    for pool in (pool for pool in pooling.POOLING[1:] if not pool.names[0].startswith("lp")):
        axes = 2 if pool.names[0].endswith("2d") else 1
        x = channels if axes == 1 else channels.unsqueeze(1)
        whole = of.tokens.shape[1] if axes == 1 else (1, of.tokens.shape[1])
        found = pool(of.session, x, 1 if "adaptive" in pool.names[0] else whole)
        assert axes_of(found, of)[-1] == "1", pool.names
    (adaptive,) = (pool for pool in pooling.POOLING if pool.names == ("adaptive_avg_pool1d",))
    assert axes_of(adaptive(of.session, channels, 3), of) == ["batch", "5", "3"]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 0, -1])
def test_bags_are_those_of_pytorch(mode: str, padding: int | None) -> None:
    table, ids = torch.randn(9, 4), torch.tensor([[1, 0, 3], [8, 8, 0]])
    session = TraceSession(nn.Identity())
    found = embedding_bags.rewrite_embedding_bag_as_reduction(session, ids, table, mode=mode, padding_idx=padding)
    expected = nn.functional.embedding_bag(ids, table, mode=mode, padding_idx=padding)
    torch.testing.assert_close(found, expected)
    flat, offsets = ids.flatten(), torch.tensor([0, 2, 2])
    found = embedding_bags.rewrite_embedding_bag_as_reduction(
        session, flat, table, offsets, mode=mode, padding_idx=padding
    )
    expected = nn.functional.embedding_bag(flat, table, offsets, mode=mode, padding_idx=padding)
    torch.testing.assert_close(found, expected)


def test_windows_of_an_adaptive_pool_are_those_of_pytorch() -> None:
    session = TraceSession(nn.Identity())
    pools = {pool.names[0]: pool for pool in pooling.POOLING}
    for size, count in itertools.product((1, 2, 5, 12), (1, 2, 3, 7)):
        x = torch.randn(2, 3, size)
        for name in ("adaptive_max_pool1d", "adaptive_avg_pool1d"):
            expected = getattr(nn.functional, name)(x, count)
            torch.testing.assert_close(pools[name](session, x, count), expected, msg=f"{name} {size} {count}")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_a_quantile_between_infinite_numbers_is_that_of_pytorch(share: float) -> None:
    x = torch.tensor([[-torch.inf, 2.0, 1.0], [torch.inf, 2.0, -torch.inf], [-torch.inf, -torch.inf, 3.0]])
    found = order_statistics_and_search.rewrite_quantile_as_sort(TraceSession(nn.Identity()), x, share, 1)
    torch.testing.assert_close(found, torch.quantile(x, share, 1), equal_nan=True)


def test_infinity_and_nan_stay_in_their_own_window() -> None:
    session, x = TraceSession(nn.Identity()), torch.tensor([[[1.0, torch.inf, 2.0, torch.nan, 3.0, -torch.inf, 4.0]]])
    pools = {pool.names[0]: pool for pool in pooling.POOLING}
    for count in (2, 3, 5, 7):
        found = pools["adaptive_avg_pool1d"](session, x, count)
        torch.testing.assert_close(found, nn.functional.adaptive_avg_pool1d(x, count), equal_nan=True)
    for corners in (False, True):
        arguments: dict[str, Any] = {"size": 7, "mode": "linear", "align_corners": corners}
        found = interpolation.rewrite_interpolate_as_selected_steps(session, x, **arguments)
        torch.testing.assert_close(found, nn.functional.interpolate(x, **arguments), equal_nan=True)
    table, ids = torch.randn(9, 4), torch.tensor([[1, 0, 3, 2, 0, 5, 6]])
    for padding in (None, 0, 3):
        weighted: dict[str, Any] = {"mode": "sum", "per_sample_weights": x[0], "padding_idx": padding}
        found = embedding_bags.rewrite_embedding_bag_as_reduction(session, ids, table, **weighted)
        torch.testing.assert_close(found, nn.functional.embedding_bag(ids, table, **weighted), equal_nan=True)
        split: dict[str, Any] = {**weighted, "per_sample_weights": x[0, 0], "offsets": torch.tensor([0, 1, 2])}
        found = embedding_bags.rewrite_embedding_bag_as_reduction(session, ids[0], table, **split)
        torch.testing.assert_close(found, nn.functional.embedding_bag(ids[0], table, **split), equal_nan=True)


@pytest.mark.parametrize("size", [1, 2, 5, 7, 12, 49])
def test_interpolated_steps_are_those_of_pytorch(size: int) -> None:
    x, session = torch.randn(2, 3, size), TraceSession(nn.Identity())
    given: list[dict[str, Any]] = [{"size": n, "mode": mode} for n in (1, 4, 7, 49) for mode in ("nearest", "linear")]
    given += [{"size": [n], "mode": "linear", "align_corners": True} for n in (1, 4, 9)]
    given += [{"scale_factor": 3, "mode": mode} for mode in ("nearest", "linear")]
    for arguments in given:
        found = interpolation.rewrite_interpolate_as_selected_steps(session, x, **arguments)
        torch.testing.assert_close(found, nn.functional.interpolate(x, **arguments), msg=f"{arguments}")


@pytest.mark.parametrize("ceil", [False, True])
def test_windows_of_a_pool_are_those_of_pytorch(ceil: bool) -> None:
    session = TraceSession(nn.Identity())
    pools = {pool.names[0]: pool for pool in pooling.POOLING}
    for size, kernel, step, pad in itertools.product((1, 2, 6, 7), (1, 2, 5), (None, 1, 3, 4), (0, 1)):
        if 2 * pad > kernel or size + 2 * pad < kernel:
            continue
        x = torch.randn(2, 3, size)
        for name, more in (("max", (1, ceil)), ("avg", (ceil, True)), ("avg", (ceil, False))):
            found = pools[f"{name}_pool1d"](session, x, kernel, step, pad, *more)
            expected = getattr(nn.functional, f"{name}_pool1d")(x, kernel, step, pad, *more)
            if not isinstance(found, DeclinedRule):
                torch.testing.assert_close(found, expected, msg=f"{name} {size} {kernel} {step} {pad} {more}")
    x = torch.randn(2, 3, 7, 8)
    arguments = ((3, 2), (2, 3), (1, 1), ceil, False, 5)
    expected = nn.functional.avg_pool2d(x, *arguments)
    torch.testing.assert_close(pools["avg_pool2d"](session, x, *arguments), expected)
    norms = pools["lp_pool1d"](session, x[0].abs(), 2.0, 3, None, True)
    torch.testing.assert_close(norms, nn.functional.lp_pool1d(x[0].abs(), 2.0, 3, ceil_mode=True))


def test_numbers_between_two_ends_are_those_of_pytorch(traced: Callable[..., Traced]) -> None:
    of = traced()
    assert axes_of(
        evenly_spaced_numbers.rewrite_linspace_of_symbolic_count(of.session, 0, 1, of.tokens.shape[1]), of
    ) == ["tokens"]
    assert axes_of(evenly_spaced_numbers.rewrite_logspace_as_powers(of.session, 0, 1, of.tokens.shape[1]), of) == [
        "tokens"
    ]


@pytest.mark.parametrize("invert", [False, True])
def test_what_is_among_many_numbers_is_compared_with_each(invert: bool) -> None:
    x, many = torch.arange(24).reshape(2, 3, 4), torch.arange(3, 160)
    found = order_statistics_and_search.rewrite_isin_as_comparisons(TraceSession(nn.Identity()), x, many, invert=invert)
    assert torch.equal(found, torch.isin(x, many, invert=invert))


def test_old_constructors_are_zeros_of_a_size_or_what_they_are_given(traced: Callable[..., Traced]) -> None:
    of = traced()
    zeros = new_and_squeeze.rewrite_new_as_zeros_or_numbers(of.session, of.steps, of.tokens.shape[0], 4)
    assert axes_of(zeros, of) == ["batch", "4"]
    assert zeros.dtype == torch.float32
    given = new_and_squeeze.rewrite_new_as_zeros_or_numbers(of.session, torch.zeros(1, dtype=torch.int64), [3, 1])
    assert (given.dtype, given.shape) == (torch.int64, (2,))
    assert axes_of(new_and_squeeze.rewrite_squeeze_of_fixed_axes(of.session, of.steps[:, :1].unsqueeze(0)), of) == [
        "batch",
        "5",
    ]


def test_the_truth_of_an_assert_is_true(traced: Callable[..., Traced]) -> None:
    class Asserts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            exec("assert (x > 0).all()")  # noqa: S102 - pytest rewrites an assert of its own file
            return x + 1

    module = Asserts()
    with TraceSession(module, (Topic(asserts.ASSERTS),)) as session:
        assert module(traced().tokens).dim() == 2
    assert len(session.told) == 1


DECLINED: list[tuple[Rule, Callable[[Traced], tuple[Any, ...]], str]] = [
    (slices.rewrite_slices_as_cuts, lambda of: (of.tokens, (slice(None, 5),)), "answered for the example"),
    (slices.rewrite_narrow_as_cut, lambda of: (of.tokens, 1, 0, 5), "answered for the example"),
    (loops.rewrite_index_as_steps, lambda of: (of.tokens, 1), "no loop over a size runs"),
    (loops.rewrite_assignment_as_put, lambda of: (of.tokens, 1, 2), "no loop over a size runs"),
    (loops.rewrite_sum_from_zero, lambda of: (of.tokens, 0), "no loop over a size runs"),
    (loops.rewrite_unbind_as_steps, lambda of: (of.steps, 2), "fixed length"),
    (loops.rewrite_chunk_as_steps, lambda of: (of.tokens, 3, 1), "not as many chunks as steps"),
    (loops.rewrite_cat_of_iterations, lambda of: ([of.tokens, of.tokens],), "results of all iterations"),
    (lengths.rewrite_tensor_of_traced_values, lambda _: ([1, 2],), "no size"),
    (pooling.POOLING[2], lambda of: (of.steps.unsqueeze(1), 3), "same pooling"),
    (
        embedding_bags.rewrite_embedding_bag_as_reduction,
        lambda of: (of.tokens, torch.zeros(9, 4), None, 2.0),
        "max_norm",
    ),
    (evenly_spaced_numbers.rewrite_linspace_of_symbolic_count, lambda _: (torch.tensor(0.0), 1, 7), "numbers is fixed"),
]


@pytest.mark.parametrize(("each", "args", "reason"), DECLINED, ids=[str(each.names) for each, _, _ in DECLINED])
def test_a_rule_says_why_it_declines(
    traced: Callable[..., Traced], each: Rule, args: Callable[[Traced], tuple[Any, ...]], reason: str
) -> None:
    of = traced()
    found = each(of.session, *args(of))
    assert isinstance(found, DeclinedRule)
    assert reason in found.reason


def test_rules_for_torch_export_decline_in_a_trace_for_torchscript() -> None:
    session = TraceSession(nn.Identity(), scripted=True)
    for each in (
        asserts.answer_assert_with_true,
        evenly_spaced_numbers.rewrite_linspace_of_symbolic_count,
        evenly_spaced_numbers.rewrite_logspace_as_powers,
    ):
        assert "TorchScript" in each(session, 0, 1, 2).reason


@rule("trunc")
def _halved(session: TraceSession, x: Tensor) -> Any:
    return torch.trunc(x) + 1 if x.dim() == 1 else decline_call("not of one axis")


def test_what_a_rule_calls_is_seen_by_the_topics_after_its_own_only() -> None:
    seen: list[str] = []

    def note(_: TraceSession, call: Call, proceed: Callable[[Call], Any]) -> Any:
        seen.append(call.name)
        return proceed(call)

    class Truncates(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.trunc(x)

    module = Truncates()
    session = TraceSession(module, (Topic((_halved,)), Topic(around=note)))
    with session:
        assert module(torch.tensor([1.5, 2.5])).tolist() == [2.0, 3.0]
        assert "trunc" in seen
        assert module(torch.tensor([[1.5]])).tolist() == [[1.0]]
    assert session.reasons["trunc", "not of one axis"] == 1
    assert "forward" not in vars(module)


def test_an_input_that_is_named_is_the_first() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.trunc(input=x)

    module = Named()
    with TraceSession(module, (Topic((_halved,)),)):
        assert module(torch.tensor([1.5])).tolist() == [2.0]
        # The input of `where` is its second argument: a call that no rule rewrites is left as it is.
        module.forward = _chosen  # type: ignore[method-assign]
        with TraceSession(module, (Topic((_halved,)),)):
            assert module(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


def _chosen(x: Tensor) -> Tensor:
    return torch.where(condition=x > 0, input=x, other=torch.zeros(()))


def test_all_that_a_session_changes_is_given_back_also_after_an_error() -> None:
    changed: list[str] = []

    @contextlib.contextmanager
    def patch(_: TraceSession) -> Iterator[None]:
        changed.append("on")
        try:
            yield
        finally:
            changed.append("off")

    def fails(_: TraceSession) -> contextlib.AbstractContextManager[None]:
        raise ValueError("no patch")

    module = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="no patch"), TraceSession(module, (), (patch, fails)):
        pytest.fail("entered")
    assert changed == ["on", "off"]
    assert "forward" not in vars(module)
    with make_export_session(module, TraceSession(module).log):
        assert "forward" in vars(module)
    assert "forward" not in vars(module)


def test_a_range_of_a_size_is_a_loop_and_its_numbers(traced: Callable[..., Traced]) -> None:
    of = traced()
    every = Positions(0, 1, of.tokens.shape[1])
    assert axes_of(every.tensor, of) == ["tokens"]
    assert len(list(every)) == ITERATIONS
    assert len(list(reversed(every))) == ITERATIONS
