package nodetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-95a32959/holdfast/session"
)

// none is the state of a register without a session.
const none = -1

// attempt is a write that may take effect, or not, within the time of its
// call: a node repeats a write when the link to its owner broke, so that one
// may be applied twice.
type attempt struct{ Call }

// unrepeated is what a write takes at most that its door has run itself, on a
// network that is not slow, and has not sent to another owner before.
const unrepeated = 2*defaultDelay + time.Microsecond

// register is the model of one session: a value, or none. What is unknown of
// calls shows as their end, which is never, and by attempts.
var register = &porcupine.NondeterministicModel{
	Init: func() []any { return []any{none} },
	Step: func(state, input, output any) []any {
		if again, ok := input.(attempt); ok {
			return append([]any{state}, applied(state.(int), again.Call)...)
		}
		return applied(state.(int), input.(Call))
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
}

func applied(state int, c Call) []any {
	switch c.Kind {
	case session.Put:
		return []any{c.Value}
	case session.Delete:
		return []any{none}
	}
	if c.Outcome == OK && c.Got == state || c.Outcome != OK && state == none {
		return []any{state}
	}
	return nil
}

// checkLinear holds the histories of registers against the model. While the
// network is cut, order is not promised.
func checkLinear(t *testing.T, h *History, seed uint64) {
	t.Helper()
	if len(h.windows) > 0 {
		return
	}
	model := register.ToModel()
	for key, calls := range h.Calls() {
		if !strings.HasPrefix(key, registers) {
			continue
		}
		result := porcupine.CheckOperationsTimeout(model, operations(calls), 30*time.Second)
		switch result {
		case porcupine.Illegal:
			t.Errorf("broken: %s is not linearizable; replay with: go test ./node/nodetest -run '^%s$' -seed %d -count 10\n%s", key, t.Name(), seed, h.Dump(key))
		case porcupine.Unknown:
			t.Logf("%s: linearizability of %d calls was not decided in time", key, len(calls))
		}
	}
}

func operations(calls []Call) (ops []porcupine.Operation) {
	add := func(c Call, input any) {
		ops = append(ops, porcupine.Operation{ClientId: c.Worker, Input: input, Call: int64(c.Began), Return: int64(c.Ended)})
	}
	for _, c := range calls {
		switch {
		case c.Outcome == Refused, c.Outcome == Unknown && c.Kind == session.Get:
			continue // says nothing
		case c.Outcome == Unknown:
			add(c, c)
			continue
		}
		add(c, c)
		if c.Kind != session.Get && (c.Door != c.Served || c.Ended-c.Began > unrepeated) {
			add(c, attempt{c})
		}
	}
	return ops
}
