package simulation

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// TestCheck holds small histories of one counter against the promises.
func TestCheck(t *testing.T) {
	t.Parallel()
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	write := func(began, ended, value int) Call {
		return Call{Kind: session.Put, Began: ms(began), Ended: ms(ended), Value: value, Told: Told{Outcome: OK, Served: "a"}}
	}
	read := func(began, got int) Call {
		return Call{Kind: session.Get, Began: ms(began), Ended: ms(began + 1), Got: got, Told: Told{Outcome: OK}}
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
		return Call{Kind: session.Delete, Began: ms(began), Ended: ms(began + 1), Told: Told{Outcome: OK, Nothing: nothing}}
	}
	unsaid := func(c Call) Call { c.FindUnsaid = true; return c }
	save := func(began int) Call {
		c := write(began, began+1, 9)
		c.Saves = true
		return c
	}
	refused := func(outcome Outcome) Call {
		c := write(2, 3, 2)
		c.Outcome = outcome
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
		"newest":                                 {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 2)}, nil, false},
		"old":                                    {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, nil, true},
		"while it is written":                    {counters, []Call{write(0, 1, 1), write(2, 9, 2), read(4, 1)}, nil, false},
		"in the instant of its answer":           {counters, []Call{write(0, 1, 1), write(2, 4, 2), read(4, 1)}, nil, false},
		"never tried":                            {counters, []Call{write(0, 1, 1), read(4, 2)}, nil, true},
		"gone":                                   {counters, []Call{write(0, 1, 1), missing}, nil, true},
		"a write without an answer comes late":   {counters, []Call{unknown(0, 1), write(2, 3, 2), read(4, 1)}, nil, false},
		"its owner dies":                         {counters, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("a", 3), true},
		"async, its owner dies":                  {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("a", 3), false},
		"async, another dies":                    {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("b", 3), true},
		"async, its owner dies long after":       {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4000, 1)}, kill("a", 3000), true},
		"async, its owner dies and had lagged":   {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4000, 1)}, []Fault{{At: ms(3000), What: "kill", Host: "a", Lag: ms(2990)}}, false},
		"async, its owner freezes":               {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, pause("a", 3), false},
		"async, acknowledged after the freeze":   {asyncs, []Call{write(0, 1, 1), write(2, 3000, 2), read(4000, 1)}, pause("a", 3), true},
		"async, its answer on the way then":      {asyncs, []Call{write(0, 1, 1), through("b", 2, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), false},
		"async, run after the freeze":            {asyncs, []Call{write(0, 1, 1), through("b", 2900, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), true},
		"async, nobody knows when it was run":    {asyncs, []Call{write(0, 1, 1), through("b", 0, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), true},
		"async, answered at the frozen door":     {asyncs, []Call{write(0, 1, 1), through("a", 2, write(2, 3000, 2)), read(4000, 1)}, freeze("a", 3), true},
		"async, through a door not cut off":      {asyncs, []Call{write(0, 1, 1), through("b", 2, write(2, 3000, 2)), read(4000, 1)}, pause("a", 3), true},
		"async, read before its owner's death":   {asyncs, []Call{write(0, 1, 1), write(2, 3, 2), read(4, 1)}, kill("a", 9), true},
		"logged out":                             {logouts, []Call{write(0, 1, 1), logout(2, false), missing}, nil, false},
		"found after its logout":                 {logouts, []Call{write(0, 1, 1), logout(2, false), read(4, 1)}, nil, true},
		"saved after its logout":                 {logouts, []Call{write(0, 1, 1), logout(2, false), save(4)}, nil, true},
		"found after the logout of nothing":      {logouts, []Call{logout(2, true), read(4, 1)}, nil, true},
		"saved after the logout of nothing":      {logouts, []Call{logout(2, true), save(4), read(6, 9)}, nil, false},
		"saved after a logout, said of nothing":  {logouts, []Call{write(0, 1, 1), unsaid(logout(2, false)), save(4)}, nil, true},
		"saved after a logout of who knows what": {logouts, []Call{unsaid(logout(2, false)), save(4), read(6, 9)}, nil, false},
		"saved, and logged out before":           {logouts, []Call{write(0, 1, 1), logout(2, false), logout(3, true), save(4)}, nil, true},
		"made, and was refused":                  {counters, []Call{write(0, 1, 1), refused(Refused), read(4, 2)}, nil, true},
		"made, and was not found":                {registers, []Call{write(0, 1, 1), refused(Deleted), read(4, 2)}, nil, true},
		"begun by another one":                   {merges, []Call{refused(Refused), read(4, 2)}, nil, false},
		"refused, and not made":                  {counters, []Call{write(0, 1, 1), refused(Refused), read(4, 1)}, nil, false},
		"made, and nobody knew":                  {counters, []Call{write(0, 1, 1), unknown(2, 2), read(4, 2)}, nil, false},
		"late, but not of a write of that time":  {counters, []Call{write(0, 1, 1), write(2, 3, 2), unknown(9, 3), read(4, 1)}, nil, true},
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

// TestCheckWhatSaysThatItIsBehind: in mode majority, where no time counts as
// one of a cut, an answer may be old that says so of itself. A miss may not.
func TestCheckWhatSaysThatItIsBehind(t *testing.T) {
	t.Parallel()
	write := func(value int) Call {
		return Call{Key: counters + "k", Kind: session.Put, Value: value, Told: Told{Outcome: OK, Acked: 1}, Began: time.Duration(value), Ended: time.Duration(value)}
	}
	read := Call{Key: counters + "k", Kind: session.Get, Began: 8, Ended: 9, Told: Told{Outcome: OK}, Got: 1}
	says, miss := read, read
	says.Degraded, miss.Degraded, miss.Outcome, miss.Got = true, true, Missing, 0
	for _, c := range []struct {
		majority bool
		read     Call
		broken   bool
	}{{true, read, true}, {true, says, false}, {true, miss, true}, {false, says, true}} {
		h := newHistory(time.Now())
		h.majority = c.majority
		for _, call := range []Call{write(1), write(2), c.read} {
			h.add(call)
		}
		require.Equal(t, c.broken, len(h.Check()) > 0, "%v: %v", c, h.Check())
	}
}

// TestCheckWhatMayBeBehind: while faults overlap an answer may be old that says
// so of itself, in every mode; one of a door that cannot say so, if another of
// that time does.
func TestCheckWhatMayBeBehind(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Duration { return time.Duration(n) * time.Second }
	call := func(kind session.Kind, began, value int) Call {
		return Call{Key: counters + "k", Kind: kind, Value: value, Got: value, Began: at(began), Ended: at(began) + 1, Told: Told{Outcome: OK, Acked: 1}}
	}
	old := call(session.Get, 12, 1)
	says, cannot, other := old, old, call(session.Get, 14, 2)
	says.Degraded, cannot.ReachUnsaid, other.Degraded = true, true, true
	late := other
	late.Began, late.Ended = at(30), at(30)+1
	for name, c := range map[string]struct {
		disturbed window
		calls     []Call
		broken    bool
	}{
		"says so":                          {window{at(10), at(13)}, []Call{says}, false},
		"does not":                         {window{at(10), at(13)}, []Call{old}, true},
		"says so, without a fault":         {window{at(20), at(30)}, []Call{says}, true},
		"cannot say, another does":         {window{at(10), at(13)}, []Call{cannot, other}, false},
		"cannot say, nobody does":          {window{at(10), at(13)}, []Call{cannot}, true},
		"cannot say, another does later":   {window{at(10), at(13)}, []Call{cannot, late}, true},
		"could say, and only another does": {window{at(10), at(13)}, []Call{old, other}, true},
	} {
		h := newHistory(time.Now())
		h.disturbed = []window{c.disturbed}
		for _, call := range append([]Call{call(session.Put, 1, 1), call(session.Put, 2, 2)}, c.calls...) {
			h.add(call)
		}
		require.Equal(t, c.broken, len(h.Check()) > 0, "%s: %v", name, h.Check())
	}
}

// TestCheckOfASingleCopy: where there is to be one copy, one that was confirmed
// near a fault may be lost with its holder.
func TestCheckOfASingleCopy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ single, near, broken bool }{{false, true, true}, {true, false, true}, {true, true, false}} {
		h := newHistory(time.Now())
		h.single, h.disturbed = c.single, []window{{time.Hour, time.Hour + time.Second}}
		at := time.Minute
		if c.near {
			at = time.Hour
		}
		h.add(Call{Key: counters + "k", Kind: session.Put, Value: 1, Told: Told{Outcome: OK, Acked: 1}, Began: at, Ended: at})
		h.add(Call{Key: counters + "k", Kind: session.Get, Told: Told{Outcome: Missing}, Began: at + time.Second, Ended: at + time.Second})
		require.Equal(t, c.broken, len(h.Check()) > 0, "%+v: %v", c, h.Check())
	}
}

// TestCheckMore holds small histories of the other families against the
// promises, in seconds.
func TestCheckMore(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Duration { return time.Duration(n) * time.Second }
	call := func(kind session.Kind, began int, outcome Outcome) Call {
		c := Call{Kind: kind, Began: at(began), Ended: at(began) + time.Millisecond, Told: Told{Outcome: outcome, Acked: 1}}
		if outcome == Unknown {
			c.Ended = forever
		}
		return c
	}
	mortal := func(kind session.Kind, began int, outcome Outcome) Call {
		c := call(kind, began, outcome)
		c.TTL = at(10)
		return c
	}
	lock := func(began, value int) Call {
		c := mortal(session.Put, began, OK)
		c.Value = value
		return c
	}
	unlock := func(began, value int, outcome Outcome) Call {
		c := call(session.Delete, began, outcome)
		c.Value = value
		return c
	}
	swap := func(began, match int) Call {
		c := call(session.Put, began, OK)
		c.Match = match
		return c
	}
	list := func(began int, keys ...string) Call {
		c := call(session.List, began, OK)
		c.Key, c.Keys = lists+"0", keys
		return c
	}
	of := func(key string, c Call) Call { c.Key = key; return c }
	const listed = "{list-0}:1"
	mute := func(c Call) Call { c.ReachUnsaid = true; return c }
	save := func(began int) Call {
		c := call(session.Put, began, OK)
		c.Saves = true
		return c
	}
	uncopied := func(c Call) Call { c.Acked = 0; return c }
	for name, c := range map[string]struct {
		key    string
		calls  []Call
		lost   time.Duration // 0 for never
		broken bool
	}{
		"there before its end":             {expiries + "k", []Call{mortal(session.Put, 1, OK), call(session.Get, 5, OK)}, 0, false},
		"gone before its end":              {expiries + "k", []Call{mortal(session.Put, 1, OK), call(session.Get, 5, Missing)}, 0, true},
		"gone with its holders":            {expiries + "k", []Call{mortal(session.Put, 1, OK), call(session.Get, 5, Missing)}, at(3), false},
		"gone after its end":               {expiries + "k", []Call{mortal(session.Put, 1, OK), call(session.Get, 12, Missing)}, 0, false},
		"outlives its end":                 {expiries + "k", []Call{mortal(session.Put, 1, OK), call(session.Get, 17, OK)}, 0, true},
		"touched":                          {expiries + "k", []Call{mortal(session.Put, 1, OK), mortal(session.Touch, 9, OK), call(session.Get, 17, OK)}, 0, false},
		"touched, and gone":                {expiries + "k", []Call{mortal(session.Put, 1, OK), mortal(session.Touch, 9, OK), call(session.Get, 14, Missing)}, 0, true},
		"maybe touched":                    {expiries + "k", []Call{mortal(session.Put, 1, OK), mortal(session.Touch, 9, Unknown), call(session.Get, 99, OK)}, 0, false},
		"in turn":                          {locks + "k", []Call{lock(1, 1), unlock(2, 1, OK), lock(3, 2)}, 0, false},
		"at once":                          {locks + "k", []Call{lock(1, 1), lock(3, 2), unlock(4, 1, OK)}, 0, true},
		"maybe given back":                 {locks + "k", []Call{lock(1, 1), unlock(2, 1, Unknown), lock(3, 2)}, 0, false},
		"expired":                          {locks + "k", []Call{lock(1, 1), lock(12, 2)}, 0, false},
		"lost with its holders":            {locks + "k", []Call{lock(1, 1), lock(3, 2)}, at(2), false},
		"swapped one after the other":      {swaps + "k", []Call{swap(1, 0), swap(2, 7), swap(3, 8)}, 0, false},
		"both swapped":                     {swaps + "k", []Call{swap(1, 0), swap(2, 7), swap(3, 7)}, 0, true},
		"created twice":                    {swaps + "k", []Call{swap(1, 0), swap(2, 0)}, 0, true},
		"a field is old":                   {merges + "k/f1", []Call{{Kind: session.Patch, Value: 1, Told: Told{Outcome: OK, Acked: 1}, Began: 1, Ended: 2}, {Kind: session.Get, Told: Told{Outcome: OK}, Began: 3, Ended: 4}}, 0, true},
		"logged out, in peace":             {logouts + "k", []Call{call(session.Put, 1, OK), mute(call(session.Delete, 2, OK)), call(session.Get, 3, OK)}, 0, true},
		"logged out, maybe by itself":      {logouts + "k", []Call{call(session.Put, 1, OK), mute(call(session.Delete, 51, OK)), call(session.Get, 99, OK)}, 0, false},
		"saved, maybe by an island":        {logouts + "k", []Call{call(session.Put, 1, OK), call(session.Delete, 2, OK), mute(save(51)), call(session.Get, 52, OK)}, 0, false},
		"saved, in peace":                  {logouts + "k", []Call{call(session.Put, 1, OK), call(session.Delete, 2, OK), mute(save(9))}, 0, true},
		"rotated":                          {rotations + "k", []Call{call(session.Put, 1, OK), call(session.Get, 2, OK), call(session.Rotate, 3, OK), call(session.Get, 4, Deleted)}, 0, false},
		"there after its rotation":         {rotations + "k", []Call{call(session.Put, 1, OK), call(session.Rotate, 3, OK), call(session.Get, 4, OK)}, 0, true},
		"gone before its rotation":         {rotations + "k", []Call{call(session.Put, 1, OK), call(session.Get, 2, Missing), call(session.Rotate, 3, OK)}, 0, true},
		"listed":                           {lists + "0", []Call{of(listed, call(session.Put, 1, OK)), list(2, listed)}, 0, false},
		"not listed":                       {lists + "0", []Call{of(listed, call(session.Put, 1, OK)), list(2)}, 0, true},
		"not listed, and maybe logged out": {lists + "0", []Call{of(listed, call(session.Put, 1, OK)), of(listed, call(session.Delete, 2, Unknown)), list(3)}, 0, false},
		"listed after its logout, and a save is under way": {lists + "0", []Call{of(listed, call(session.Put, 1, Unknown)), of(listed, call(session.Delete, 2, OK)), list(3, listed)}, 0, false},
		"listed after its logout":                          {lists + "0", []Call{of(listed, call(session.Put, 1, OK)), of(listed, call(session.Delete, 2, OK)), list(3, listed)}, 0, true},
		"a counter, lost with its holders":                 {counters + "k", []Call{{Kind: session.Put, Value: 1, Told: Told{Outcome: OK, Acked: 1}, Began: at(1), Ended: at(1)}, call(session.Get, 5, Missing)}, at(3), false},
		"a counter, lost before":                           {counters + "k", []Call{{Kind: session.Put, Value: 1, Told: Told{Outcome: OK, Acked: 1}, Began: at(4), Ended: at(4)}, call(session.Get, 5, Missing)}, at(3), true},
		"without a copy, in trouble":                       {counters + "k", []Call{uncopied(Call{Kind: session.Put, Value: 1, Told: Told{Outcome: OK}, Began: at(51), Ended: at(51)}), call(session.Get, 55, Missing)}, 0, false},
		"without a copy, and in peace":                     {counters + "k", []Call{uncopied(Call{Kind: session.Put, Value: 1, Told: Told{Outcome: OK}, Began: at(1), Ended: at(1)}), call(session.Get, 5, Missing)}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(time.Now())
			for _, call := range c.calls {
				if call.Key == "" {
					call.Key = c.key
				}
				h.add(call)
			}
			h.disturbed = []window{{at(50), at(60)}}
			if c.lost > 0 {
				h.lost[wholeKey(c.key)] = []time.Duration{c.lost}
			}
			require.Equal(t, c.broken, len(h.Check()) > 0, "%v", h.Check())
		})
	}
}

// Two clusters have two owners of each partition until they meet, in any mode;
// the two sides of a cut have in mode available.
func TestWhenThereIsToBeOneOwner(t *testing.T) {
	t.Parallel()
	for mode, inCut := range map[node.PartitionMode]bool{node.PartitionMajority: true, node.PartitionAvailable: false} {
		c := &Cluster{options: Options{Mode: mode}, history: newHistory(time.Now())}
		require.True(t, c.hasOneOwner())
		c.history.split()
		require.Equal(t, inCut, c.hasOneOwner(), mode)
		c.history.rejoined()
		c.history.add(Call{Key: "k"})
		c.history.foundAnew()
		require.False(t, c.hasOneOwner(), mode)
		c.history.met()
		require.True(t, c.hasOneOwner())
	}
}

// What is acknowledged before nodes found a cluster anew, or until it has met the
// one of before, may be lost; nothing is excused before any session was begun.
func TestFoundingExcusesWhatWasBefore(t *testing.T) {
	t.Parallel()
	h := newHistory(time.Now())
	h.foundAnew()
	h.met()
	require.False(t, h.everLost("k"), "the first founding")
	h.add(Call{Key: "k"})
	h.met()
	require.False(t, h.everLost("k"), "none was apart")
	h.foundAnew()
	h.met()
	require.True(t, h.everLost("k"))
	require.Less(t, h.lostFrom("k", Call{}), forever)
	require.Equal(t, forever, h.lostFrom("k", Call{Began: time.Hour}), "what is written after")
}
