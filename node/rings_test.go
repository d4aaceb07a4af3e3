package node

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

// partitionOn returns a partition that each of the rings puts on the holders given
// for it.
func partitionOn(t *testing.T, holders map[string]string) int {
	t.Helper()
	for p := range ring.Partitions {
		fits := true
		for names, on := range holders {
			table := tableOf(letters(names))
			fits = fits && slices.Equal(table.Holders(p), letters(on))
		}
		if fits {
			return p
		}
	}
	t.Fatalf("no partition is placed as %v", holders)
	return 0
}

func letters(names string) (all []string) {
	for _, c := range names {
		all = append(all, string(c))
	}
	return all
}

// A node a of some that had copies, or had not, asks where they are now.
func TestCopiesAreWhereTheProvenRingWantsThem(t *testing.T) {
	t.Parallel()
	const never = -neverLeft
	for name, c := range map[string]struct {
		rings  []string // in order, with the time for which each stood
		stood  []time.Duration
		on     map[string]string // the partition's holders by ring
		owner  string            // by the last claim
		left   map[string]time.Duration
		ended  string
		beyond bool // whether the copies may be out of reach
	}{
		"this one has a copy":                  {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "ba"}, owner: "b", left: map[string]time.Duration{"a": never}},
		"one that has answered has":            {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "c": never}},
		"nobody who has answered has":          {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "d": never}, beyond: true},
		"those who had have ended":             {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never}, ended: "bc"},
		"one of them may be alive":             {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never}, ended: "b", beyond: true},
		"the ring has not stood":               {rings: []string{"abcd"}, stood: []time.Duration{time.Second}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never}},
		"handed over out of reach":             {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": 60*time.Second + 500*time.Millisecond}, beyond: true},
		"handed over within reach":             {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": 60*time.Second + 500*time.Millisecond, "d": never}},
		"not handed over yet":                  {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "b", left: map[string]time.Duration{"a": never}},
		"handed over before that ring":         {rings: []string{"abcd", "ab"}, stood: []time.Duration{time.Minute, time.Minute}, on: map[string]string{"abcd": "cd", "ab": "ab"}, owner: "a", left: map[string]time.Duration{"a": time.Second}},
		"a ring that the owner never knew of":  {rings: []string{"abcd", "ab"}, stood: []time.Duration{time.Minute, time.Minute}, on: map[string]string{"abcd": "cd", "ab": "ab"}, owner: "c", left: map[string]time.Duration{"a": never, "b": never}, beyond: true},
		"a ring since that has copied nothing": {rings: []string{"abcd", "abc", "ab"}, stood: []time.Duration{time.Minute, time.Second, time.Second}, on: map[string]string{"abcd": "dc", "ab": "ab"}, owner: "d", left: map[string]time.Duration{"a": never, "b": never}, beyond: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still(t, "a")
			p := partitionOn(t, c.on)
			var answered []copyOf
			for member, left := range c.left {
				answered = append(answered, copyOf{id(member, 1), left})
			}
			at := time.Duration(0)
			for i, names := range c.rings {
				seen := seenRing{table: tableOf(letters(names)), ids: make(map[string]ID), since: at, proven: c.stood[i] > provenAfter}
				for _, name := range letters(names) {
					seen.ids[name] = id(name, 1)
				}
				at += c.stood[i]
				n.rings.past = append(n.rings.past, seen)
			}
			n.rings.now = seenRing{table: tableOf([]string{"a"}), ids: map[string]ID{"a": n.id}, since: at}
			var members []*Member
			for _, name := range letters("bcd") {
				m := up(name, 1)
				m.Up, m.Left = false, slices.Contains(letters(c.ended), name)
				members = append(members, m)
			}
			n.glance(members...)
			require.Equal(t, c.beyond, n.rings.outOfReach(p, id(c.owner, 1), answered))
		})
	}
}

// A ring counts as proven when everybody in it has seen it so for a while. What
// one node alone makes of a cut that it is noticing does not.
func TestRingIsProvenByAgreement(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seen  string        // by b, as it last said: the same ring or another
		ago   time.Duration // that it was heard
		stood time.Duration // since they agreed
		want  bool
	}{
		"agreed on for long":    {"same", 0, provenAfter + time.Second, true},
		"agreed on for a while": {"same", 0, provenAfter / 2, false},
		"b sees another":        {"other", 0, time.Minute, false},
		"b is silent":           {"same", 2 * vouchFor, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := still(t, "a")
			n.pass(time.Minute)
			v := n.glance(up("b", 1))
			l := n.link(up("b", 1))
			l.fingerprint = c.seen
			if c.seen == "same" {
				l.fingerprint = v.Table.Fingerprint()
			}
			l.heard.Store(int64(n.since() - c.ago))
			n.rings.look(v)
			n.pass(c.stood)
			n.rings.look(v)
			n.glance(up("b", 1), up("c", 1))
			require.Equal(t, c.want, n.rings.past[len(n.rings.past)-1].proven)
		})
	}
}

// Where copies are out of reach a new session takes an id of another partition.
func TestNewIDsAvoidWhatIsOutOfReach(t *testing.T) {
	t.Parallel()
	n := alone(t)
	for p := range n.owner.blind {
		n.owner.blind[p].Store(p%2 == 0)
	}
	for range 50 {
		require.Equal(t, 1, ring.Partition(n.newSessionID())%2)
	}
}

// A source that was forgotten and has come back is asked over its new link.
func TestFetchUsesTheLinkThatThereIsNow(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	n.glance(up("b", 1))
	before := newLink(n, up("b", 1))
	now := n.link(up("b", 1))
	gone := newLink(n, up("c", 1))
	require.Equal(t, []*link{now, gone}, n.owner.present([]*link{before, gone}))
}
