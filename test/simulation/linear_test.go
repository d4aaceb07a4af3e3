package simulation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

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

// state is what a register is: a value, or none, and what may yet become of it
// by writes that were answered as unconfirmed, if those were the last ones.
type state struct {
	value  int
	undone bool // whether a crash of their owner may take them back, to behind
	behind int
	ends   bool // whether one of them is a logout
	late   bool // whether a logout that was taken back may yet arrive and end the session
}

// pasts returns what a register may have become since it was seen: nothing
// else, or what the loss of its owner has made of it. The successor of an owner
// that was only frozen may go on with the session that a logout had ended
// there, until that arrives.
func (s state) pasts() []state {
	all := []state{s}
	if s.undone {
		all = append(all, state{value: s.behind, late: (s.late || s.ends) && s.behind != none})
	}
	if s.late {
		all = append(all, state{value: none})
	}
	return all
}

// register is the model of one session. What is unknown of calls shows as their
// end, which is never, and by attempts.
var register = &porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{value: none}} },
	Step: func(was, input, output any) []any {
		if again, ok := input.(attempt); ok {
			return append([]any{was}, applied(was.(state), again.Call)...)
		}
		return applied(was.(state), input.(Call))
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
}

// applied returns what a register may be after a call.
func applied(was state, c Call) (next []any) {
	for _, before := range was.pasts() {
		after := before
		switch {
		case c.Kind == session.Put && c.Outcome != Deleted:
			after = state{value: c.Value, late: before.late}
		case c.Kind == session.Delete:
			after = state{value: none}
		case c.Outcome == OK && c.Got != before.value, c.Outcome != OK && before.value != none:
			continue
		}
		if c.Kind != session.Get && c.Unconfirmed {
			after.undone, after.behind, after.ends = true, before.value, c.Kind == session.Delete
			if before.undone {
				further := after
				further.behind, further.ends = before.behind, before.ends || after.ends
				next = append(next, further)
			}
		}
		next = append(next, after)
	}
	return next
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
		if !strings.HasPrefix(key, registers) || h.everLost(key) {
			continue
		}
		result := porcupine.CheckOperationsTimeout(model, operations(calls), 30*time.Second)
		switch result {
		case porcupine.Illegal:
			t.Errorf("broken: %s is not linearizable; replay with: go test ./test/simulation -run '^%s$' -seed %d -count 10\n%s", key, t.Name(), seed, h.Dump(key))
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
		once := unrepeated
		if c.By != byAPI {
			once += 2 * defaultDelay // to the door and back
		}
		if c.Kind != session.Get && (c.Door != c.Served || c.Ended-c.Began > once) {
			add(c, attempt{c})
		}
	}
	return ops
}

// TestLinearCheck: what the check refuses, and what it lets pass.
func TestLinearCheck(t *testing.T) {
	t.Parallel()
	at := func(i int) time.Duration { return time.Duration(i) * time.Second }
	put := func(i, value int) Call {
		return Call{Kind: session.Put, Value: value, Told: Told{Outcome: OK}, Began: at(i), Ended: at(i)}
	}
	get := func(i, got int) Call {
		c := Call{Kind: session.Get, Got: got, Told: Told{Outcome: OK}, Began: at(i), Ended: at(i)}
		if got == none {
			c.Outcome = Deleted
		}
		return c
	}
	remove := func(i int) Call {
		return Call{Kind: session.Delete, Told: Told{Outcome: OK}, Began: at(i), Ended: at(i)}
	}
	unconfirmed := func(c Call) Call { c.Unconfirmed = true; return c }
	for name, c := range map[string]struct {
		calls []Call
		legal bool
	}{
		"in order":                          {[]Call{put(1, 1), get(2, 1), remove(3), get(4, none), put(5, 2), get(6, 2)}, true},
		"a lost write":                      {[]Call{put(1, 1), put(2, 2), get(3, 1)}, false},
		"a logout undone":                   {[]Call{put(1, 1), remove(2), get(3, 1)}, false},
		"a logout undone after it was seen": {[]Call{put(1, 1), remove(2), get(3, none), get(4, 1)}, false},
		"an unconfirmed one":                {[]Call{put(1, 1), unconfirmed(remove(2)), get(3, 1), get(4, 1)}, true},
		"the same, seen before":             {[]Call{put(1, 1), unconfirmed(remove(2)), get(3, none), get(4, 1)}, true},
		"the same, arriving late":           {[]Call{put(1, 1), unconfirmed(remove(2)), get(3, 1), get(4, none)}, true},
		"late, after another write":         {[]Call{put(1, 1), unconfirmed(remove(2)), put(3, 2), get(4, 2), get(5, none)}, true},
		"late, past a write undone":         {[]Call{put(1, 1), unconfirmed(remove(2)), get(3, 1), unconfirmed(put(4, 2)), get(5, 2), get(6, 1), get(7, none)}, true},
		"late, and undone after all":        {[]Call{put(1, 1), unconfirmed(remove(2)), get(3, 1), get(4, none), get(5, 1)}, false},
		"late, twice":                       {[]Call{put(1, 1), unconfirmed(remove(2)), get(3, 1), get(4, none), put(5, 2), get(6, none)}, false},
		"late, into the next session":       {[]Call{put(1, 1), unconfirmed(remove(2)), get(3, 1), remove(4), put(5, 2), get(6, none)}, false},
		"late, of no session":               {[]Call{unconfirmed(remove(1)), put(2, 1), get(3, none)}, false},
		"an unconfirmed write, late":        {[]Call{put(1, 1), unconfirmed(put(2, 2)), get(3, 1), get(4, 2)}, false},
		"two of them":                       {[]Call{put(1, 1), unconfirmed(put(2, 2)), unconfirmed(remove(3)), get(4, 1)}, true},
		"the later of them":                 {[]Call{put(1, 1), unconfirmed(put(2, 2)), unconfirmed(remove(3)), get(4, 2)}, true},
		"confirmed by what came after":      {[]Call{put(1, 1), unconfirmed(remove(2)), put(3, 2), get(4, 1)}, false},
		"back to what it never was":         {[]Call{put(1, 1), put(2, 2), unconfirmed(remove(3)), get(4, 1)}, false},
	} {
		require.Equal(t, c.legal, porcupine.CheckOperations(register.ToModel(), operations(c.calls)), name)
	}
}
