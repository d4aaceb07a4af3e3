package explore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// TestSearchSeesAll walks through a small plan to its end.
func TestSearchSeesAll(t *testing.T) {
	p, err := ParsePlan("crashes=1 losses=1 claims=2 ticks=2")
	require.NoError(t, err)
	s := &Search{Plan: p, Sample: 10}
	r := s.Run()
	require.True(t, r.Whole)
	require.Empty(t, r.Found)
	require.Greater(t, r.States, 500)
	require.Positive(t, r.Recoveries)

	again := (&Search{Plan: p, Sample: 10, Worlds: 10}).Run()
	require.Equal(t, r.States, again.States, "states that are found again by their way are the same")
	require.Equal(t, r.Steps, again.Steps)
}

// lied is a beginning in which two members take the owner for ended that is
// alive: what no rule can make good.
var lied = []string{"cluster", "view bob amy refused", "view cam amy refused"}

// TestWayIsAScenario finds two owners near the first state, and plays the way
// there.
func TestWayIsAScenario(t *testing.T) {
	p, err := ParsePlan("claims=1 ticks=0")
	require.NoError(t, err)
	p.Begin = lied
	r := (&Search{Plan: p, Depth: 3}).Run()
	at := slices.IndexFunc(r.Found, func(f Found) bool { return f.Promise == OneOwner })
	require.GreaterOrEqual(t, at, 0)
	way := r.Found[at].Way
	require.Contains(t, way, "\nclaim bob\n")
	require.Contains(t, way, "VIOLATION of "+OneOwner)
	require.Equal(t, way, Play(way))
}

// A walk finds the same, and leaves out what is not needed for it.
func TestWalk(t *testing.T) {
	var k Walk
	var found *Found
	for seed := uint64(1); found == nil && seed < 100; seed++ {
		k = Walk{Seed: seed, Config: three(ownership.Available), Begin: lied, Bounds: Bounds{Claims: 255, Ticks: 20, Writes: 5}, Length: 100}
		found, _ = k.Run()
	}
	require.NotNil(t, found)
	require.Equal(t, OneOwner, found.Promise)
	require.LessOrEqual(t, found.Steps, 5, "a claim, its way and the answer's, and what they wait for:\n%s", found.Way)
	require.Contains(t, found.Way, "VIOLATION of "+OneOwner)
	require.Equal(t, found.Way, Play(found.Way))
	again, _ := k.Run()
	require.Equal(t, found, again, "a seed is a way")
}

// Walks differ in all that is drawn, and break nothing.
func TestWalks(t *testing.T) {
	modes, members, begins := make(map[ownership.Mode]bool), make(map[int]bool), make(map[string]bool)
	for seed := range uint64(60) {
		k := NewWalk(seed)
		modes[k.Config.Mode], members[k.Config.Members], begins[strings.Join(k.Begin, " ")] = true, true, true
		if seed < 30 {
			found, steps := k.Run()
			require.Nil(t, found, "seed %d", seed)
			require.Positive(t, steps)
		}
	}
	require.Len(t, modes, 2)
	require.Len(t, members, 4)
	require.Greater(t, len(begins), 5)
}

// TestStatesThatLookAlikeAre holds states that count as one, as they were
// reached by different ways, against each other: the same steps must lead to
// the same.
func TestStatesThatLookAlikeAre(t *testing.T) {
	for _, text := range []string{
		"freezes=1 claims=1 ticks=4 writes=1", "crashes=1 starts=1 claims=2 ticks=2", "cuts=1 claims=1 ticks=4", "alone starts=2 claims=2 ticks=2",
		"holds=1 claims=1 freezes=1 ticks=4 apart", "tick=250ms freezes=2 claims=1 ticks=6",
	} {
		t.Run(text, func(t *testing.T) {
			p, err := ParsePlan(text)
			require.NoError(t, err)
			s := &Search{Plan: p}
			s.most = p.Bounds.bounded()
			known := map[uint64]open{}
			todo := []open{{world: s.first()}}
			compared := 0
			for n := 0; len(todo) > 0 && n < 4000; n++ {
				o := todo[0]
				todo = todo[1:]
				for _, st := range o.world.steps(nil) {
					if o.used[st.verb] >= s.most[st.verb] {
						continue
					}
					next := open{world: o.world.Clone(), used: o.used}
					if s.most[st.verb] != 255 {
						next.used[st.verb]++
					}
					st.take(next.world)
					h := s.hash(next.world, &next.used)
					twin, twice := known[h]
					if !twice {
						known[h] = next
						todo = append(todo, next)
					} else if compared++; compared%5 == 0 {
						require.Equal(t, successors(s, twin), successors(s, next), "%s and %s", twin.world, next.world)
					}
				}
			}
			require.Greater(t, compared, 500)
		})
	}
}

// successors are what can come of a state, in one order for all.
func successors(s *Search, o open) (all []uint64) {
	for _, st := range o.world.steps(nil) {
		if o.used[st.verb] < s.most[st.verb] {
			w := o.world.Clone()
			st.take(w)
			all = append(all, s.hash(w, &o.used))
		}
	}
	slices.Sort(all)
	return all
}

func TestCloneGoesItsOwnWay(t *testing.T) {
	w := New(Config{Members: 3, Partitions: 1, Mode: ownership.Available, Tick: 250 * time.Millisecond})
	w.Cluster()
	before := string(w.appendTo(nil))
	x := w.Clone()
	require.Equal(t, before, string(x.appendTo(nil)))
	require.NoError(t, x.End(0, false))
	x.Tick()
	for range 8 {
		x.Settledown()
		x.Tick()
	}
	require.NotEqual(t, before, string(x.appendTo(nil)))
	require.Equal(t, before, string(w.appendTo(nil)))
	require.Empty(t, x.whole(true))
}

func TestPlanThatCannotBe(t *testing.T) {
	for _, text := range []string{"members=6", "partitions=0", "mode=none", "tick=0s", "freeze=1", "claims=x", "tick=1"} {
		_, err := ParsePlan(text)
		require.ErrorContains(t, err, strings.SplitN(text, "=", 2)[0])
	}
}
