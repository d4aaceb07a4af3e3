package ownership

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

// partitionOn returns a partition that each of the rings puts on the holders
// given for it.
func partitionOn(t *testing.T, holders map[string]string) int {
	t.Helper()
	for p := range ring.Partitions {
		fits := true
		for names, on := range holders {
			fits = fits && slices.Equal(tableOf(letters(names)).Holders(p), letters(on))
		}
		if fits {
			return p
		}
	}
	t.Fatalf("no partition is placed as %v", holders)
	return 0
}

// A node a, which had a copy or had not, asks where the copies are now.
func TestCopiesAreWhereTheProvenRingWantsThem(t *testing.T) {
	t.Parallel()
	const never = -NeverLeft
	for name, c := range map[string]struct {
		rings  []string // in order, with the time for which each stood
		stood  []time.Duration
		on     map[string]string // the partition's holders by ring
		owner  string            // by the last claim
		left   map[string]time.Duration
		ended  string
		word   Status // of the owner, if it has answered
		behind string // those of them who may lack something
		beyond bool   // whether the copies may be out of reach
		absent string // who had them, if nobody has answered who has
	}{
		"this one has a copy":                   {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "ba"}, owner: "b", left: map[string]time.Duration{"a": never}},
		"one that has answered has":             {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "c": never}},
		"none that has answered has":            {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "d": never}, beyond: true, absent: "bc"},
		"those that had have ended":             {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never}, ended: "bc", absent: "bc"},
		"one of them may be alive":              {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never}, ended: "b", beyond: true, absent: "bc"},
		"no ring has stood":                     {rings: []string{"abcd"}, stood: []time.Duration{time.Second}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "b": never, "c": never}, beyond: true, absent: "d"},
		"none has, and all have answered":       {rings: []string{"abcd"}, stood: []time.Duration{time.Second}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "b": never, "c": never, "d": never}},
		"none has, and the others have ended":   {rings: []string{"abcd"}, stood: []time.Duration{time.Second}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "b": never}, ended: "cd"},
		"handed over out of reach":              {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": 60*time.Second + 500*time.Millisecond}, beyond: true, absent: "bcd"},
		"handed over within reach":              {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": 60*time.Second + 500*time.Millisecond, "d": never}},
		"not handed over yet":                   {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "a", left: map[string]time.Duration{"a": never}},
		"handed over before that ring":          {rings: []string{"abcd", "ab"}, stood: []time.Duration{time.Minute, time.Minute}, on: map[string]string{"abcd": "cd", "ab": "ab"}, owner: "a", left: map[string]time.Duration{"a": time.Second}},
		"a ring that the owner never knew of":   {rings: []string{"abcd", "ab"}, stood: []time.Duration{time.Minute, time.Minute}, on: map[string]string{"abcd": "cd", "ab": "ab"}, owner: "c", left: map[string]time.Duration{"a": never, "b": never}, beyond: true, absent: "cd"},
		"handed over while that ring stood":     {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "ba"}, owner: "b", left: map[string]time.Duration{"a": time.Second}, beyond: true, absent: "b"},
		"handed over since the last change":     {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "ba"}, owner: "b", left: map[string]time.Duration{"a": 2 * time.Minute}, beyond: true, absent: "b"},
		"the owner had all there is":            {rings: []string{"abcd"}, stood: []time.Duration{time.Second}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "b": never}, word: Whole},
		"the owner could not tell":              {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "b": never}, word: Partial, beyond: true},
		"the owner could not, and all answer":   {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "b": never, "c": never, "d": never}, word: Partial},
		"claimed since, its holders silent":     {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": never, "b": never}, beyond: true},
		"claimed since, one of them answers":    {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": never, "d": never}},
		"claimed since, and they have ended":    {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": never, "b": never}, ended: "cd"},
		"claimed since, who had it has ended":   {rings: []string{"abcd", "ab"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"abcd": "dc", "ab": "ba"}, owner: "b", left: map[string]time.Duration{"c": never}, ended: "d", beyond: true},
		"claimed by a ring that was not seen":   {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "b", left: map[string]time.Duration{"a": never}, beyond: true},
		"who has it may lack something":         {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "da"}, owner: "d", left: map[string]time.Duration{"a": never, "b": never}, ended: "d", behind: "a", beyond: true},
		"who has it may, and all answer":        {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "da"}, owner: "d", left: map[string]time.Duration{"a": never, "b": never, "c": never}, behind: "a"},
		"one who has it may, another has all":   {rings: []string{"abcd"}, stood: []time.Duration{time.Minute}, on: map[string]string{"abcd": "ab"}, owner: "b", left: map[string]time.Duration{"a": never, "b": never}, behind: "a"},
		"claimed since, one of them may lack":   {rings: []string{"ab", "abcd"}, stood: []time.Duration{time.Minute, time.Second}, on: map[string]string{"ab": "ab", "abcd": "cd"}, owner: "c", left: map[string]time.Duration{"a": never, "d": never}, ended: "c", behind: "d", beyond: true},
		"before any ring has stood, both ended": {rings: []string{"abc"}, stood: []time.Duration{time.Second}, on: map[string]string{"abc": "bc"}, owner: "b", left: map[string]time.Duration{"a": never}, ended: "bcd", absent: "bc"},
		"before that, with the copy's holder":   {rings: []string{"abc"}, stood: []time.Duration{time.Second}, on: map[string]string{"abc": "bc"}, owner: "b", left: map[string]time.Duration{"a": never, "c": never}, ended: "bd", absent: "b"},
		"a ring since that has copied nothing":  {rings: []string{"abcd", "abc", "ab"}, stood: []time.Duration{time.Minute, time.Second, time.Second}, on: map[string]string{"abcd": "dc", "ab": "ab"}, owner: "d", left: map[string]time.Duration{"a": never, "b": never}, beyond: true, absent: "cd"},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			p := partitionOn(t, c.on)
			var answered []copyOf
			for name, left := range c.left {
				status := Accepted
				switch {
				case name == c.owner && c.word != 0:
					status = c.word
				case strings.Contains(c.behind, name):
					status = Behind
				}
				answered = append(answered, copyOf{id(name, 1), left, status})
			}
			at := time.Duration(0)
			for i, names := range c.rings {
				seen := pastRing{table: tableOf(letters(names)), ids: make(map[string]member.ID), since: at, proven: c.stood[i] > provenAfter}
				for _, name := range letters(names) {
					seen.ids[name] = id(name, 1)
				}
				at += c.stood[i]
				n.history.past = append(n.history.past, seen)
			}
			n.history.now = pastRing{table: tableOf([]string{"a"}), ids: map[string]member.ID{"a": n.self}, since: at}
			var members []*member.Member
			for _, name := range letters("bcd") {
				m := up(name, 1)
				m.Up, m.Left = false, slices.Contains(letters(c.ended), name)
				n.peers[m.ID] = &peer{} // it was there
				members = append(members, m)
			}
			n.glance(members...)
			absent, alive := n.absentHolders(p, id(c.owner, 1), answered, false)
			require.Equal(t, c.beyond, alive)
			names := ""
			for _, id := range slices.SortedFunc(slices.Values(absent), member.ID.Compare) {
				names += id.Name
			}
			require.Equal(t, c.absent, names)
		})
	}
}

// Who has joined during a cut hears from the others who is cut off. What the
// owner of before says goes before that.
func TestJoinerHearsOfTheMissing(t *testing.T) {
	t.Parallel()
	owner, missing := id("b", 1), id("c", 1)
	for name, c := range map[string]struct {
		ago    time.Duration
		word   Status // of the owner; none if it has not answered
		beyond bool
	}{
		"nobody has served it":                        {beyond: true},
		"nobody for long":                             {ago: missingFor},
		"its owner had all":                           {word: Whole},
		"its owner could not tell":                    {word: Partial, beyond: true},
		"its owner could not, for long":               {ago: missingFor, word: Partial},
		"its owner is of a version that says nothing": {word: Accepted, beyond: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			n.pass(time.Minute)
			n.see(up("b", 1))
			n.SetMissing(n.now, []Missing{{missing, n.now - c.ago}})
			answered, had := []copyOf{{n.self, -NeverLeft, Accepted}}, member.ID{}
			if c.word != 0 {
				answered, had = append(answered, copyOf{owner, -NeverLeft, c.word}), owner
			}
			_, alive := n.absentHolders(3, had, answered, false)
			require.Equal(t, c.beyond, alive)
			n.see(up("b", 1), up("c", 1))
			n.SetMissing(n.now, []Missing{{missing, n.now - c.ago}})
			_, alive = n.absentHolders(3, had, append(answered, copyOf{missing, -NeverLeft, Accepted}), false)
			require.False(t, alive, "it is back, and has answered")
		})
	}
}

// Who stood still while another node joined and left hears of that one as dead.
// As nobody misses it, it had nothing to say.
func TestWhoWasNeverSeenAliveHasLeft(t *testing.T) {
	t.Parallel()
	n := still("a")
	asked := []copyOf{{n.self, -NeverLeft, Accepted}}
	n.see(dead("b", 1))
	_, alive := n.absentHolders(3, member.ID{}, asked, false)
	require.False(t, alive)
	_, alive = n.absentHolders(3, id("b", 1), asked, false)
	require.True(t, alive, "by the claims that others know it serves the partition")
	n.SetMissing(n.now, []Missing{{id("b", 1), n.now}})
	_, alive = n.absentHolders(3, member.ID{}, asked, false)
	require.True(t, alive, "somebody has seen it")
	n.see(refused("b", 1))
	n.SetMissing(n.now, []Missing{{id("b", 1), n.now}})
	_, alive = n.absentHolders(3, member.ID{}, asked, false)
	require.False(t, alive, "here it is known to have ended")
	_, alive = n.absentHolders(3, id("b", 1), asked, false)
	require.False(t, alive)
}

// Who has never seen it alive because nothing comes through between the two has
// others who see it: their rings have it.
func TestWhoOthersSeeHasNotLeft(t *testing.T) {
	t.Parallel()
	asked := func(n *tried) []copyOf {
		return []copyOf{{n.self, -NeverLeft, Accepted}, {id("c", 1), -NeverLeft, Accepted}}
	}
	n := still("a")
	n.see(dead("b", 1), up("c", 1))
	_, alive := n.absentHolders(3, member.ID{}, asked(n), false)
	require.False(t, alive, "c has not said what it sees")
	n.answered(id("c", 1), 0, n.view.Table.Fingerprint())
	_, alive = n.absentHolders(3, member.ID{}, asked(n), false)
	require.False(t, alive, "c sees what a sees")
	n.answered(id("c", 1), 0, tableOf(letters("abc")).Fingerprint())
	_, alive = n.absentHolders(3, member.ID{}, asked(n), false)
	require.True(t, alive, "c may see b")
	_, alive = n.absentHolders(3, member.ID{}, append(asked(n), copyOf{id("b", 1), -NeverLeft, Accepted}), false)
	require.False(t, alive, "b has answered")
	n.see(refused("b", 1), up("c", 1))
	_, alive = n.absentHolders(3, member.ID{}, asked(n), false)
	require.False(t, alive, "b has ended")

	m := elector("a", "abc")
	m.peers = make(map[member.ID]*peer)
	m.glance(up("a", 1), dead("b", 1), up("c", 1))
	require.Nil(t, m.peers[id("b", 1)])
	require.Equal(t, []member.ID{id("b", 1)}, m.outOfReach(indexIn(asked(m))), "it counts, so it has not left")
}

// Who has just started knows of an owner that stands still by its claims alone,
// until the others notice.
func TestOwnerThatWasNeverSeenIsMissing(t *testing.T) {
	t.Parallel()
	n := still("a")
	asked := []copyOf{{n.self, -NeverLeft, Accepted}}
	alive := func(claims Claim) bool {
		n.Set(7, Away, claims, false)
		n.SetMissing(n.now, nil)
		_, alive := n.absentHolders(3, id("a", 0), asked, false)
		return alive
	}
	n.see(up("b", 1))
	require.False(t, alive(Claim{}))
	require.True(t, alive(Claim{3, id("c", 1)}))
	require.False(t, alive(Claim{3, id("a", 0)}), "a boot of its own name has ended")
	require.False(t, alive(Claim{3, id("b", 0)}), "b has started anew")
	n.see(up("b", 1), up("c", 1))
	require.False(t, alive(Claim{3, id("c", 1)}))
}

// A router has no copies, so who has just started need not hear of it.
func TestRoutersHaveNoCopies(t *testing.T) {
	t.Parallel()
	n := still("a")
	router := dead("r", 1)
	router.Role = member.RoleRouter
	n.see(router)
	_, alive := n.absentHolders(3, member.ID{}, []copyOf{{n.self, -NeverLeft, Accepted}}, false)
	require.False(t, alive)
	n.see(up("b", 1))
	n.see(router, dead("b", 1))
	_, alive = n.absentHolders(3, member.ID{}, []copyOf{{n.self, -NeverLeft, Accepted}}, false)
	require.True(t, alive)
}

// A ring counts as proven when all in it have seen it so for a while. What one
// node alone makes of a cut that it is noticing does not.
func TestRingIsProvenByAgreement(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seen  string        // by b, as it last said: the same ring or another
		ago   time.Duration // that it was heard
		stood time.Duration // since they agreed
		gap   time.Duration // in which b was silent, in the middle of that
		want  bool
	}{
		"agreed on for long":           {seen: "same", stood: provenAfter + time.Second, want: true},
		"agreed on for not longer":     {seen: "same", stood: provenAfter},
		"agreed on for a while":        {seen: "same", stood: provenAfter / 2},
		"b sees another":               {seen: "other", stood: time.Minute},
		"b is silent":                  {seen: "same", ago: 2 * LeaseTime, stood: time.Minute},
		"b is silent after a moment":   {seen: "same", stood: time.Second, gap: time.Minute},
		"b is silent for a while":      {seen: "same", stood: 2*provenAfter - time.Second, gap: 2 * LeaseTime},
		"and was heard for long since": {seen: "same", stood: 3 * provenAfter, gap: 2 * LeaseTime, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			fingerprint := n.glance(up("b", 1)).Table.Fingerprint()
			if c.seen != "same" {
				fingerprint = c.seen
			}
			for since := time.Duration(0); since <= c.stood+c.gap; since += time.Second {
				if since <= c.stood/2 || since > c.stood/2+c.gap {
					n.answered(id("b", 1), c.ago, fingerprint)
				}
				n.Tick(n.now)
				n.pass(time.Second)
			}
			require.Equal(t, c.want, n.Stands())
			n.glance(up("b", 1), up("c", 1))
			require.Equal(t, c.want, n.history.past[len(n.history.past)-1].proven)
			require.False(t, n.Stands(), "the new one has not stood yet")
		})
	}
}

// A node that waits alone for its cluster sees a ring of nobody, with which
// nobody can disagree. By that it knows nothing of the copies of an owner of whom
// it has only heard, and who may be alive behind a cut.
func TestRingOfNobodyProvesNothing(t *testing.T) {
	t.Parallel()
	n := still("a")
	joining := up("a", 1)
	joining.State = member.StateJoining
	n.SetView(n.now, viewOf(n.self, joining))
	for range 10 {
		n.Tick(n.now)
		n.pass(time.Second)
	}
	require.False(t, n.Stands())
	n.glance(up("b", 1))
	require.Zero(t, n.proven())

	n.history.past[0].proven = true // and by a ring that is, of others, neither
	n.Set(3, Away, Claim{3, id("c", 1)}, false)
	n.SetMissing(n.now, nil)
	absent, alive := n.absentHolders(3, id("c", 1), []copyOf{{n.self, -NeverLeft, Accepted}, {id("b", 1), -NeverLeft, Accepted}}, false)
	require.Equal(t, []member.ID{id("c", 1)}, absent)
	require.True(t, alive, "gossip has told nothing of c, and it is missing")
}

// proven is how many rings n knows by which it can tell where the copies are.
func (n *tried) proven() (rings int) {
	for _, r := range n.history.past {
		if r.proven {
			rings++
		}
	}
	if n.Stands() {
		rings++
	}
	return rings
}

// In mode Majority the members of a minority have not seen what rings there
// were on the other side, and where these have moved the copies. They know
// nothing of that by the rings from before the cut, and nothing by their own,
// however long they have agreed on it.
func TestMinorityDoesNotKnowWhereCopiesAre(t *testing.T) {
	t.Parallel()
	for seen, knows := range map[string]bool{"ab": false, "abc": true} {
		n := elector("a", "abcde")
		stand := func(names string) {
			fingerprint := n.glance(cluster(names)...).Table.Fingerprint()
			for since := time.Duration(0); since <= 2*provenAfter; since += LeaseTime / 2 {
				for _, name := range letters(names)[1:] {
					n.answered(id(name, 1), 0, fingerprint)
				}
				n.Tick(n.now)
				n.pass(LeaseTime / 2)
			}
		}
		stand("abcde")
		n.glance(cluster("abcd")...)
		require.Equal(t, 1, n.proven(), "the ring from before the cut")
		for range 4 { // the cut is noticed
			n.touch(seen)
			n.pass(LeaseTime / 2)
		}
		stand(seen)
		require.Equal(t, knows, n.Stands(), seen)
		n.glance(cluster("abcde")...)
		require.Equal(t, knows, n.proven() == 2, seen)
		require.Equal(t, knows, n.proven() != 0, seen)
	}
}

// It forgets from the moment on when it has not heard the others for a lease,
// whether a tick or a view comes first. Who has a majority forgets nothing, nor
// does anybody in mode Available, where both sides of a cut serve.
func TestWhenAMinorityForgetsWhereCopiesAre(t *testing.T) {
	t.Parallel()
	tick := func(n *tried) { n.Tick(n.now) }
	view := func(n *tried) { n.glance(up("a", 1), up("b", 1), dead("c", 1), dead("d", 1), dead("e", 1)) }
	for name, c := range map[string]struct {
		mode    Mode
		silent  time.Duration // for how long the others have been
		looks   func(n *tried)
		forgets bool
	}{
		"a tick in time":                 {Majority, LeaseTime - 1, tick, false},
		"a tick as the lease ends":       {Majority, LeaseTime, tick, true},
		"a tick later":                   {Majority, time.Minute, tick, true},
		"a view in time":                 {Majority, LeaseTime - 1, view, false},
		"a view as the lease ends":       {Majority, LeaseTime, view, true},
		"a view later":                   {Majority, time.Minute, view, true},
		"a tick later in mode Available": {Available, time.Minute, tick, false},
		"a view later in mode Available": {Available, time.Minute, view, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := elector("a", "abcde")
			n.mode = c.mode
			n.history.past = []pastRing{{table: tableOf(letters("abc")), proven: true}}
			n.history.now.proven = true // the ring of all five
			require.Equal(t, 2, n.proven())
			n.pass(c.silent)
			c.looks(n)
			if c.forgets {
				require.Zero(t, n.proven())
				require.Zero(t, len(n.history.past), "rings that are not proven are forgotten too")
			} else {
				require.Equal(t, 2, n.proven())
			}
		})
	}
}

// It stands since they first agreed, however often they have said so since.
func TestRingStandsSinceItWasFirstAgreedOn(t *testing.T) {
	t.Parallel()
	n := still("a")
	fingerprint := n.glance(cluster("ab")...).Table.Fingerprint()
	const step = LeaseTime / 2
	for since := time.Duration(0); since < 2*provenAfter; since += step {
		n.answered(id("b", 1), 0, fingerprint)
		n.Tick(n.now)
		require.Equal(t, since > provenAfter, n.Stands(), "after %s", since)
		n.pass(step)
	}
}

// A process that stood still does not know where the copies are.
func TestRingIsNotProvenToOneThatStoodStill(t *testing.T) {
	t.Parallel()
	n := still("a")
	fingerprint := n.glance(cluster("ab")...).Table.Fingerprint()
	stand := func() {
		for range 5 {
			n.answered(id("b", 1), 0, fingerprint)
			n.Tick(n.now)
			n.pass(time.Second)
		}
	}
	stand()
	require.True(t, n.Stands())
	n.Resumed(n.now)
	require.False(t, n.Stands())
	n.glance(cluster("a")...)
	require.False(t, n.history.past[len(n.history.past)-1].proven)
	require.Len(t, n.history.past, 1)
	n.glance(cluster("ab")...)
	stand()
	require.True(t, n.Stands(), "it is again when it has stood for as long")
}

// The table is taken over where the names are the same: a restart is no change
// of placement, and yet the new boot is where the copies are from then on.
func TestRestartKeepsTheRingAndMovesTheCopies(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.see(up("b", 1))
	since := n.history.now.since
	n.pass(time.Second)
	n.see(dead("b", 1), up("b", 2))
	require.Empty(t, n.history.past)
	require.Equal(t, since, n.history.now.since)
	require.Equal(t, id("b", 2), n.history.now.ids["b"])
	n.see()
	require.Len(t, n.history.past, 1)
	require.Equal(t, n.now, n.history.now.since)
}

func TestPastRingsAreFew(t *testing.T) {
	t.Parallel()
	n := still("a")
	for range maxPast + 4 {
		n.see()
		n.see(up("b", 1))
		n.pass(time.Second)
	}
	require.Len(t, n.history.past, maxPast)
	require.Equal(t, n.now-time.Second, n.history.past[maxPast-1].since, "the newest is kept")
}

// A partition whose copies are all with members that cannot be reached is
// served, and marked, until it is settled that they do not come back.
func TestClaimWithoutTheCopiesIsUnverified(t *testing.T) {
	t.Parallel()
	without := map[string]string{"abcd": "db", "ac": "ac"}
	with := map[string]string{"abcd": "dc", "abcde": "ed", "ac": "ac"} // c has one until e joins
	for name, s := range map[string]struct {
		on         map[string]string
		sees       []*member.Member // beside a and c, in the end
		left       time.Duration    // how long ago c has handed its copy over
		unverified bool
	}{
		"both are silent":                  {on: without, sees: []*member.Member{dead("b", 1), dead("d", 1)}, left: NeverLeft, unverified: true},
		"one is silent":                    {on: without, sees: []*member.Member{dead("b", 1), refused("d", 1)}, left: NeverLeft, unverified: true},
		"both have ended":                  {on: without, sees: []*member.Member{refused("b", 1), left("d", 1)}, left: NeverLeft},
		"one has answered":                 {on: with, sees: []*member.Member{dead("d", 1), dead("e", 1)}, left: NeverLeft},
		"that one has given it to another": {on: with, sees: []*member.Member{dead("d", 1), dead("e", 1)}, left: settleTime, unverified: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			p := partitionOn(t, s.on)
			fp := n.glance(cluster("abcd")...).Table.Fingerprint()
			n.setHolder(p, Claim{4, id(n.view.Table.Owner(p), 1)})
			for range provenAfter/time.Second + 2 {
				for _, name := range letters("bcd") {
					n.answered(id(name, 1), 0, fp)
				}
				n.Tick(n.now)
				n.pass(time.Second)
			}
			n.glance(cluster("abcde")...)
			n.pass(2 * settleTime)
			n.glance(append(cluster("ac"), s.sees...)...)
			r := n.begin(t, p)
			answers := make([][]Answer, len(r.Asked))
			answers[slices.Index(r.Asked, id("c", 1))] = []Answer{{Status: Accepted, Left: s.left}}
			require.Len(t, n.settle(r, answers...).Open, 1)
			require.Equal(t, Decision{Verdict: Serve, Unverified: s.unverified, Owner: n.self, Epoch: r.Epoch}, n.gate.Decide(p, n.now))

			n.pass(stableAfter)
			n.Tick(n.now)
			require.False(t, n.gate.Decide(p, n.now).Unverified, "those that had the copies are not coming back")
		})
	}

	n := still("a")
	n.see()
	const p = 3
	n.serving(p, 4)
	n.setUnsure(p, unsure{elsewhere: true})
	n.do(n.Ponged(n.now, n.now, id("b", 1), "", only(p, Claim{5, id("b", 1)}), true))
	n.serving(p, 6)
	require.False(t, n.gate.Decide(p, n.now).Unverified, "what was given up is marked no more")
}

// In mode majority no read may miss what a silent owner has had confirmed by one
// of two copies.
func TestMajorityAsksAllWhoMayHaveConfirmed(t *testing.T) {
	t.Parallel()
	table, err := ring.New(letters("abcd"), ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 3})
	require.NoError(t, err)
	p := 0
	for p < ring.Partitions && !slices.Equal(table.Holders(p), letters("bac")) {
		p++
	}
	owner, other := id("b", 1), id("c", 1)
	for name, x := range map[string]struct {
		mode     Mode
		answered []member.ID
		ended    string
		beyond   bool
	}{
		"the other copy is silent":              {mode: Majority, beyond: true},
		"it has answered":                       {mode: Majority, answered: []member.ID{other}},
		"the owner has":                         {mode: Majority, answered: []member.ID{owner}},
		"the other has ended, the owner is out": {mode: Majority, ended: "c", beyond: true},
		"the owner has ended, the other is out": {mode: Majority, ended: "b", beyond: true},
		"both have ended":                       {mode: Majority, ended: "bc"},
		"mode available":                        {mode: Available},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			n.mode = x.mode
			var members []*member.Member
			ids := map[string]member.ID{"a": n.self}
			for _, name := range letters("bcd") {
				m := dead(name, 1)
				m.Ended = slices.Contains(letters(x.ended), name)
				members, ids[name] = append(members, m), m.ID
			}
			n.glance(members...)
			n.history.past, n.history.now = nil, pastRing{table: table, ids: ids, proven: true}
			answered := []copyOf{{n.self, -NeverLeft, Accepted}}
			for _, id := range x.answered {
				answered = append(answered, copyOf{id, -NeverLeft, Accepted})
			}
			absent, alive := n.absentHolders(p, owner, answered, true)
			require.Equal(t, x.beyond, alive)
			require.Empty(t, absent, "this one has a copy")
		})
	}
}
