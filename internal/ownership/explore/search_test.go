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

// TestWayIsAScenario finds two owners near the first state, in a way that
// today's rules let happen, and plays the way there.
func TestWayIsAScenario(t *testing.T) {
	p, err := ParsePlan("cuts=1 claims=1 ticks=0")
	require.NoError(t, err)
	p.Begin = []string{"cluster", "cut bob", "tick 1s", "view bob amy", "claim bob", "view bob cam", "heal", "view bob amy", "tick 1s"}
	r := (&Search{Plan: p, Depth: 2}).Run()
	at := slices.IndexFunc(r.Found, func(f Found) bool { return f.Promise == PastSilent })
	require.GreaterOrEqual(t, at, 0, "where the rules are mended, another way is needed here")
	way := r.Found[at].Way
	require.Contains(t, way, "\nsettle bob 3\n")
	require.Contains(t, way, "VIOLATION of "+PastSilent)
	require.Equal(t, way, Play(way))
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
	require.Empty(t, x.whole())
}

func TestPlanThatCannotBe(t *testing.T) {
	for _, text := range []string{"members=6", "partitions=0", "mode=none", "tick=0s", "freeze=1", "claims=x", "tick=1"} {
		_, err := ParsePlan(text)
		require.ErrorContains(t, err, strings.SplitN(text, "=", 2)[0])
	}
}
