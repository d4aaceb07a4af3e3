package simulation

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
	through := func(door string, stamped int, w Call) Call {
		w.Door, w.Stamped = door, ms(stamped)
		return w
	}
	kill := func(host string, at int) []Fault { return []Fault{{At: ms(at), What: "kill", Host: host}} }
	pause := func(host string, at int) []Fault { return []Fault{{At: ms(at), What: "pause", Host: host}} }
	freeze := func(host string, at int) []Fault {
		return append(pause(host, at), Fault{At: ms(at), What: "cut", Host: host, More: "b"})
	}
	logout := func(began int, nothing bool) Call {
		return Call{Kind: session.Delete, Began: ms(began), Ended: ms(began + 1), Outcome: OK, Nothing: nothing}
	}
	save := func(began int) Call {
		c := write(began, began+1, 9)
		c.Saves = true
		return c
	}
	missing := read(5000, 0)
	missing.Outcome = Missing
	for name, c := range map[string]struct {
		family string
		calls  []Call
		faults []Fault
		broken bool
	}{
		"newest":                                {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 2)}, nil, false},
		"old":                                   {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, nil, true},
		"while it is written":                   {counters, []Call{write(0, 1, 1), write(2, 9, 2), read(4, 1)}, nil, false},
		"in the instant of its answer":          {counters, []Call{write(0, 1, 1), write(2, 4, 2), read(4, 1)}, nil, false},
		"never tried":                           {counters, []Call{write(0, 1, 1), read(4, 2)}, nil, true},
		"gone":                                  {counters, []Call{write(0, 1, 1), missing}, nil, true},
		"a write without an answer comes late":  {counters, []Call{unknown(0, 1), write(2, 3, 2), read(4, 1)}, nil, false},
		"its owner dies":                        {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("a", 3), true},
		"async, its owner dies":                 {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("a", 3), false},
		"async, another dies":                   {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("b", 3), true},
		"async, its owner dies long after":      {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4000, 1)}, kill("a", 3000), true},
		"async, its owner dies and had lagged":  {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4000, 1)}, []Fault{{At: ms(3000), What: "kill", Host: "a", Lag: ms(2990)}}, false},
		"async, its owner freezes":              {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, pause("a", 3), false},
		"async, acknowledged after the freeze":  {asyncs, []Call{write(0, 1, 1), write(2, 3000, 2), read(4000, 1)}, pause("a", 3), true},
		"async, its answer on the way then":     {asyncs, []Call{write(0, 1, 1), through("b", 2, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), false},
		"async, run after the freeze":           {asyncs, []Call{write(0, 1, 1), through("b", 2900, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), true},
		"async, nobody knows when it was run":   {asyncs, []Call{write(0, 1, 1), through("b", 0, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), true},
		"async, answered at the frozen door":    {asyncs, []Call{write(0, 1, 1), through("a", 2, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), true},
		"async, through a door not cut off":     {asyncs, []Call{write(0, 1, 1), through("b", 2, write(2, 3000, 2)), read(4000, 1)}, pause("a", 3), true},
		"async, read before its owner's death":  {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("a", 9), true},
		"logged out":                            {logouts, []Call{write(0, 1, 1), logout(2, false), missing}, nil, false},
		"found after its logout":                {logouts, []Call{write(0, 1, 1), logout(2, false), read(4, 1)}, nil, true},
		"saved after its logout":                {logouts, []Call{write(0, 1, 1), logout(2, false), save(4)}, nil, true},
		"found after the logout of nothing":     {logouts, []Call{logout(2, true), read(4, 1)}, nil, true},
		"saved after the logout of nothing":     {logouts, []Call{logout(2, true), save(4), read(6, 9)}, nil, false},
		"saved, and logged out before":          {logouts, []Call{write(0, 1, 1), logout(2, false), logout(3, true), save(4)}, nil, true},
		"late, but not of a write of that time": {counters, []Call{write(0, 1, 1), write(2, 3, 2), unknown(9, 3), read(4, 1)}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(time.Now())
			for _, call := range c.calls {
				call.Key = c.family + "k"
				h.add(call)
			}
			h.faults = c.faults
			require.Equal(t, c.broken, len(h.Check()) > 0, "%v", h.Check())
		})
	}
}
