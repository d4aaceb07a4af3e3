package nodetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// TestCheck holds small histories of one counter against the promises.
func TestCheck(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	write := func(began, ended, value int) Call {
		return Call{Kind: session.Put, Began: ms(began), Ended: ms(ended), Value: value, Outcome: OK, Served: "a"}
	}
	read := func(began, got int) Call {
		return Call{Kind: session.Get, Began: ms(began), Ended: ms(began + 1), Got: got, Outcome: OK}
	}
	unknown := func(began, value int) Call {
		c := write(began, 0, value)
		c.Outcome, c.Ended = Unknown, forever
		return c
	}
	missing := read(5000, 0)
	missing.Outcome = Missing
	for name, c := range map[string]struct {
		family string
		calls  []Call
		fault  Fault
		broken bool
	}{
		"newest":                                {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 2)}, Fault{}, false},
		"old":                                   {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, Fault{}, true},
		"while it is written":                   {counters, []Call{write(0, 1, 1), write(2, 9, 2), read(4, 1)}, Fault{}, false},
		"never tried":                           {counters, []Call{write(0, 1, 1), read(4, 2)}, Fault{}, true},
		"gone":                                  {counters, []Call{write(0, 1, 1), missing}, Fault{}, true},
		"a write without an answer comes late":  {counters, []Call{unknown(0, 1), write(2, 3, 2), read(4, 1)}, Fault{}, false},
		"its owner dies":                        {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, Fault{At: ms(3), What: "kill", Host: "a"}, true},
		"async, its owner dies":                 {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, Fault{At: ms(3), What: "kill", Host: "a"}, false},
		"async, another dies":                   {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, Fault{At: ms(3), What: "kill", Host: "b"}, true},
		"async, its owner dies long after":      {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4000, 1)}, Fault{At: ms(3000), What: "kill", Host: "a"}, true},
		"async, its owner dies and had lagged":  {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4000, 1)}, Fault{At: ms(3000), What: "kill", Host: "a", Lag: ms(2990)}, false},
		"async, its owner freezes":              {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, Fault{At: ms(3), What: "pause", Host: "a"}, false},
		"async, acknowledged after the freeze":  {asyncs, []Call{write(0, 1, 1), write(2, 3000, 2), read(4000, 1)}, Fault{At: ms(3), What: "pause", Host: "a"}, true},
		"async, read before its owner's death":  {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, Fault{At: ms(9), What: "kill", Host: "a"}, true},
		"late, but not of a write of that time": {counters, []Call{write(0, 1, 1), write(2, 3, 2), unknown(9, 3), read(4, 1)}, Fault{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(time.Now())
			for _, call := range c.calls {
				call.Key = c.family + "k"
				h.add(call)
			}
			h.faults = []Fault{c.fault}
			require.Equal(t, c.broken, len(h.Check()) > 0, "%v", h.Check())
		})
	}
}
