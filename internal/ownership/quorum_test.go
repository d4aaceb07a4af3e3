package ownership

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// elector returns a Core in mode Majority that sees the members of a Roster, is
// one of them by its name, and has heard of all.
func elector(name, names string) *tried {
	n := still(name, majority)
	n.glance(cluster(names)...)
	n.counting(names)
	n.touch(names)
	return n
}

// touch lets members answer a heartbeat of n's, with a lease.
func (n *tried) touch(names string) {
	for _, name := range letters(names) {
		if n.self.Name != name {
			n.answered(id(name, 1), 0, "")
		}
	}
}

// are are the first boots of members.
func are(names string) func(member.ID) bool {
	return func(who member.ID) bool { return slices.Contains(rosterOf(1, names).Electors, who) }
}

// without are the first boots of some members, less those that are replaced by
// others.
func without(names string, others ...*member.Member) []*member.Member {
	all := slices.Clone(others)
	for _, m := range cluster(names) {
		if !slices.ContainsFunc(others, func(o *member.Member) bool { return o.ID == m.ID }) {
			all = append(all, m)
		}
	}
	return all
}

// each are members made the same way.
func each(f func(name string, boot int) *member.Member, names string) (all []*member.Member) {
	for _, name := range letters(names) {
		all = append(all, f(name, 1))
	}
	return all
}

// elsewhere is a node that has another address than the boots before it.
func elsewhere(name string, boot int) *member.Member {
	m := up(name, boot)
	m.Peer = name + ":99"
	return m
}

func leaving(name string, boot int) *member.Member {
	m := up(name, boot)
	m.State = member.StateLeaving
	return m
}

// Some electors decide for all if they are more than half; a half does if one
// of the others has ended for sure, and so do the last ones if all others have
// and nothing can have been decided without them.
func TestEnough(t *testing.T) {
	t.Parallel()
	byC := func(n *tried) {
		vote, _ := n.Vote(n.now, id("c", 1), Proposal{Step: Prepare, Version: 1, Ballot: Ballot{1, id("c", 1)}})
		if !vote.Yes {
			panic("c has asked for a promise")
		}
	}
	bootOf := func(f func(string, int) *member.Member, boot int) func(string, int) *member.Member {
		return func(name string, _ int) *member.Member { return f(name, boot) }
	}
	for name, s := range map[string]struct {
		of, yes string
		first   func(n *tried)   // before anybody vanishes
		silent  time.Duration    // for how long before that nobody answered
		sees    []*member.Member // beside those that are up still
		passed  time.Duration
		then    func(n *tried)
		want    bool
	}{
		"more than half":                {of: "abc", yes: "ab", want: true},
		"more than half, without a":     {of: "abc", yes: "bc", want: true},
		"one of three":                  {of: "abc", yes: "a"},
		"a half":                        {of: "abcd", yes: "ab"},
		"nobody":                        {of: "abc"},
		"others":                        {of: "abc", yes: "def"},
		"the only one":                  {of: "a", yes: "a", want: true},
		"a half, and one said good-bye": {of: "abcd", yes: "ab", sees: each(left, "d"), passed: PromiseTime, want: true},
		"a half, and one came back":     {of: "abcd", yes: "ab", sees: each(bootOf(up, 2), "d"), passed: PromiseTime, want: true},
		"a half, and one came back at another address": {of: "abcd", yes: "ab", sees: each(bootOf(elsewhere, 2), "d"), passed: PromiseTime},
		"a half, and one ended a moment ago":           {of: "abcd", yes: "ab", sees: each(left, "d"), passed: PromiseTime - 1},
		"a half, and one is silent":                    {of: "abcd", yes: "ab", sees: each(dead, "d"), passed: time.Hour},
		"a half, and one refuses connections":          {of: "abcd", yes: "ab", sees: each(refused, "d"), passed: time.Hour},
		"less than half, and one ended":                {of: "abcde", yes: "ab", sees: each(left, "e"), passed: PromiseTime},
		"one of three, and one ended":                  {of: "abc", yes: "a", sees: each(left, "c"), passed: PromiseTime},
		"one of two, and the other ended":              {of: "ab", yes: "a", silent: time.Minute, sees: each(left, "b"), passed: PromiseTime, want: true},
		"the ended alone":                              {of: "abc", yes: "", sees: each(left, "bc"), passed: PromiseTime},

		"the last one of three":                  {of: "abc", yes: "a", sees: each(left, "bc"), passed: PromiseTime, want: true},
		"the last two of five":                   {of: "abcde", yes: "ab", sees: each(left, "cde"), passed: PromiseTime, want: true},
		"the last one, a moment ago":             {of: "abc", yes: "a", sees: each(left, "bc"), passed: PromiseTime - 1},
		"the last one, and one is silent":        {of: "abc", yes: "a", sees: append(each(left, "b"), each(dead, "c")...), passed: time.Hour},
		"the last one, and one refuses":          {of: "abc", yes: "a", sees: append(each(left, "b"), each(refused, "c")...), passed: time.Hour},
		"the last one, in touch until then":      {of: "abc", yes: "a", silent: touchTime - 1, sees: each(left, "bc"), passed: PromiseTime, want: true},
		"the last one, out of touch before":      {of: "abc", yes: "a", silent: touchTime, sees: each(left, "bc"), passed: PromiseTime},
		"the last one, never in touch":           {of: "abc", yes: "a", first: func(n *tried) { n.quorum.seen[id("b", 1)] = seen{} }, sees: each(left, "bc"), passed: PromiseTime},
		"the last one, which promised its vote":  {of: "abc", yes: "a", first: byC, sees: each(left, "bc"), passed: PromiseTime},
		"more than half, one promised its vote":  {of: "abc", yes: "ab", first: byC, want: true},
		"the last one, and others are there":     {of: "abc", yes: "a", sees: append(each(left, "bc"), each(up, "x")...), passed: PromiseTime},
		"the last one, and others have answered": {of: "abc", yes: "a", sees: append(each(left, "bc"), each(up, "x")...), passed: PromiseTime, then: func(n *tried) { n.touch("x") }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := elector("a", s.of)
			if s.first != nil {
				s.first(n)
			}
			n.pass(s.silent)
			var members []*member.Member
			for _, m := range cluster(s.of) {
				if !slices.ContainsFunc(s.sees, func(o *member.Member) bool { return o.Name == m.Name }) {
					members = append(members, m)
				}
			}
			n.glance(append(members, s.sees...)...)
			n.pass(s.passed)
			for _, m := range members {
				n.touch(m.Name)
			}
			if s.then != nil {
				s.then(n)
			}
			n.Tick(n.now)
			require.Equal(t, s.want, n.enough(n.now, n.quorum.now, are(s.yes)))
		})
	}
}

// What was accepted by another's ballot is undecided for as long as it is not
// known to be in force; one's own proposal is not.
func TestUndecided(t *testing.T) {
	t.Parallel()
	n := elector("a", "abc")
	require.False(t, n.Undecided())
	n.see(up("b", 1), up("c", 1), up("d", 1))
	n.touch("bcd")
	p := n.Tick(n.now).Propose
	require.NotNil(t, p)
	require.False(t, n.Undecided(), "who proposes knows what comes of it")
	next := rosterOf(2, "abcd")
	vote, _ := n.Vote(n.now, id("b", 1), Proposal{Step: Accept, Version: 1, Ballot: Ballot{5, id("b", 1)}, Roster: next})
	require.True(t, vote.Yes)
	require.True(t, n.Undecided())
	n.Count(n.now, p, []*Vote{nil, nil, nil})
	n.pass(pendingFor)
	n.touch("bcd")
	p = n.proposes()
	require.Equal(t, n.self, n.quorum.promised.By)
	require.True(t, n.Undecided(), "what it asks for now does not change what it has accepted")
	n.Count(n.now, p, votesOf(Vote{Yes: true}, Vote{}))
	require.Equal(t, n.self, n.quorum.by.By)
	require.False(t, n.Undecided(), "until it has accepted it anew, by its own ballot")
	n.SetRoster(n.now, id("b", 1), 2, Rosters{next, rosterOf(1, "abc")})
	require.False(t, n.Undecided())
}

// An elector that has ended counts as ended for good, also when gossip has
// forgotten it or takes it for alive; and as silent no more when it is back.
func TestElectorsThatTakeNoPart(t *testing.T) {
	t.Parallel()
	n, b := elector("a", "abc"), id("b", 1)
	n.glance(without("abc", left("b", 1))...)
	require.Equal(t, lost{since: n.now, ended: true, near: true}, n.quorum.lost[b])
	since := n.now
	n.pass(PromiseTime)
	for _, sees := range [][]*member.Member{cluster("ac"), cluster("abc"), without("abc", dead("b", 1))} {
		n.glance(sees...)
		require.Equal(t, lost{since: since, ended: true, near: true}, n.quorum.lost[b])
	}

	n = elector("a", "abc")
	n.pass(LeaseTime)
	n.glance(without("abc", dead("b", 1))...)
	since = n.now
	require.Equal(t, lost{since: since}, n.quorum.lost[b])
	n.pass(time.Second)
	n.glance(cluster("ac")...)
	require.Equal(t, lost{since: since}, n.quorum.lost[b], "since it vanished")
	n.glance(without("abc", dead("b", 1), up("b", 2))...)
	require.Equal(t, lost{since: n.now, ended: true, near: true}, n.quorum.lost[b], "since it is known to have ended")

	n = elector("a", "abc")
	n.pass(LeaseTime)
	n.glance(without("abc", dead("b", 1))...)
	n.answered(b, 0, "")
	n.Tick(n.now)
	require.Empty(t, n.quorum.lost, "gossip may be wrong")
	n.pass(LeaseTime)
	n.Tick(n.now)
	require.Equal(t, lost{since: n.now}, n.quorum.lost[b], "silent again, since now")
	n.glance(cluster("abc")...)
	require.Empty(t, n.quorum.lost)

	n = still("a", majority)
	n.now = time.Second // since it started
	n.glance(cluster("abc")...)
	n.counting("abc")
	n.glance(without("abc", left("b", 1))...)
	require.Equal(t, lost{since: n.now, ended: true}, n.quorum.lost[b], "it has never answered")

	n = elector("a", "abc")
	n.glance(without("abc", left("b", 1))...)
	n.counting("ac")
	require.Empty(t, n.quorum.lost, "of members that do not count no account is kept")
	require.NotContains(t, n.quorum.seen, b)
}

// A member that does not know a Roster that this one has agreed to gets neither
// a lease from it nor its consent.
func TestWhoKnowsAnOlderRosterGetsNothing(t *testing.T) {
	t.Parallel()
	n, b, c := elector("a", "abc"), id("b", 1), id("c", 1)
	n.counting("abc")
	fp, epoch := n.view.Table.Fingerprint(), uint64(10)
	gets := func() bool {
		t.Helper()
		lease := n.pinged(b)
		epoch++
		answer := n.ask(t, b, epoch, fp, 3, c)
		if !lease {
			require.Equal(t, Answer{Status: Early, Epoch: n.maxEpoch}, answer)
		}
		require.Equal(t, lease, answer.Status == Accepted)
		return lease
	}
	knows := func(version uint64) { n.do(n.SetRoster(n.now, b, version, Rosters{})) }
	require.EqualValues(t, 2, n.RosterVersion())
	require.True(t, gets())
	knows(1)
	require.False(t, gets())
	knows(3)
	require.True(t, gets(), "a newer one is as good")
	knows(2)
	require.True(t, gets())

	// From when this member has accepted a Roster, though it is not decided.
	ballot := Ballot{4, c}
	vote, _ := n.Vote(n.now, c, Proposal{Step: Prepare, Version: 2, Ballot: ballot})
	require.True(t, vote.Yes)
	require.True(t, gets(), "a promise to listen is none to accept")
	vote, _ = n.Vote(n.now, c, Proposal{Step: Accept, Version: 2, Ballot: ballot, Roster: rosterOf(3, "abcd")})
	require.True(t, vote.Yes)
	require.False(t, gets())
	knows(3)
	require.True(t, gets(), "it has heard that it is decided, before this member has")
	require.EqualValues(t, 2, n.RosterVersion())

	require.False(t, n.pinged(id("x", 1)), "of a stranger it is not known what it knows")
	n = still("a")
	n.see(up("b", 1))
	n.do(n.SetRoster(n.now, b, 0, Rosters{rosterOf(7, "b"), Roster{}}))
	require.True(t, n.pinged(b), "where nobody counts, nobody need know who does")
	require.Equal(t, Rosters{}, n.Rosters())
}

// A Roster that was heard of is known from then on, and all others are told; of
// one that is merely named, more is asked for.
func TestRosterIsLearned(t *testing.T) {
	t.Parallel()
	n, b, c := elector("a", "abc"), id("b", 1), id("c", 1)
	require.Equal(t, Todo{Beat: []member.ID{b}}, n.SetRoster(n.now, b, 2, Rosters{}), "its answer tells it")
	require.EqualValues(t, 1, n.RosterVersion())
	two := Rosters{rosterOf(2, "ab"), rosterOf(1, "abc")}
	require.Equal(t, Todo{Round: true, Beat: []member.ID{b, c}}, n.SetRoster(n.now, b, 2, two))
	require.Equal(t, two, n.Rosters())
	require.Equal(t, Todo{}, n.SetRoster(n.now, c, 1, Rosters{rosterOf(1, "abc"), Roster{}}))
	require.Equal(t, Todo{}, n.SetRoster(n.now, b, 2, two), "that is no news")
	require.Equal(t, two, n.Rosters())
	require.Equal(t, Todo{}, n.SetRoster(n.now, b, 2, Rosters{rosterOf(2, "aab"), rosterOf(1, "abc")}), "of two of one version all choose the same one")
	require.Equal(t, two, n.Rosters())
}

// For as long as what was given by the Roster before may count, a majority of
// it is needed beside one of the new one: for a lease, and to claim.
func TestFreshRosterTakesBothMajorities(t *testing.T) {
	t.Parallel()
	learned := func() (n *tried, first time.Duration) {
		n = still("a", majority)
		n.see(each(up, "bcde")...)
		n.counting("abc")
		n.SetRoster(n.now, id("d", 1), 2, Rosters{rosterOf(2, "ade"), rosterOf(1, "abc")})
		return n, n.now
	}
	for name, s := range map[string]struct {
		answers    string
		fresh, old bool // whether that is enough, while the Roster is fresh and then
	}{
		"none":              {"", false, false},
		"of the new one":    {"d", false, true},
		"of all of it":      {"de", false, true},
		"of the one before": {"bc", false, false},
		"of both":           {"bd", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, passed := range []time.Duration{0, PromiseTime - 1, PromiseTime} {
				want := s.fresh
				if passed == PromiseTime {
					want = s.old
				}
				n, _ := learned()
				n.pass(passed)
				n.AskFailed(n.now) // the answers of all are not waited for
				n.touch(s.answers)
				require.Equal(t, want, n.leased(), "a lease after %s", passed)
				todo, _ := n.Round(n.now)
				require.Equal(t, want, todo.Claim != nil, "a claim after %s", passed)

				n, _ = learned()
				n.pass(passed)
				n.touch("bcde")
				todo, _ = n.Round(n.now)
				r := *todo.Claim
				r.Parts = r.Parts[:1]
				n.see(append(each(refused, "bcde"), without(s.answers)...)...) // who is silent has ended
				var answers [][]Answer
				for _, who := range r.Asked {
					answers = append(answers, nil)
					if are(s.answers)(who) {
						answers[len(answers)-1] = []Answer{{Status: Accepted}}
					}
				}
				require.Equal(t, want, len(n.settle(&r, answers...).Open) > 0, "a claim settled after %s", passed)
			}
		})
	}

	n, since := learned()
	n.now = since + PromiseTime - 1
	n.AskFailed(n.now)
	n.touch("d")
	require.False(t, n.leased())
	n.pass(1)
	n.Tick(n.now)
	require.True(t, n.leased(), "as soon as it is not fresh any more")

	n, since = learned()
	n.see(up("d", 1), up("e", 1), left("b", 1), left("c", 1))
	n.now = since + PromiseTime - 1
	n.touch("de")
	require.False(t, n.leased(), "those that have ended may have given something")
}

// While a member has accepted a Roster that is not known to be in force, its
// lease is not renewed, and it claims nothing.
func TestWhoHasAcceptedARosterUsesTheOldOneNoMore(t *testing.T) {
	t.Parallel()
	n := elector("a", "abc")
	require.True(t, n.leased())
	n.pass(LeaseTime / 2)
	ballot := Ballot{4, id("c", 1)}
	vote, _ := n.Vote(n.now, id("c", 1), Proposal{Step: Accept, Version: 1, Ballot: ballot, Roster: rosterOf(2, "abcd")})
	require.True(t, vote.Yes)
	n.touch("bc")
	n.Tick(n.now)
	n.pass(LeaseTime/2 - 1)
	require.True(t, n.leased(), "what was given before")
	n.pass(1)
	require.False(t, n.leased())
	n.touch("bc")
	n.AskFailed(n.now)
	require.False(t, n.leased())
	n.touch("b")
	require.False(t, n.agreed(n.now, are("b")), "its own word does not count for the old one")
	require.True(t, n.agreed(n.now, are("bc")), "those of the others do")
	n.SetRoster(n.now, id("c", 1), 2, Rosters{rosterOf(2, "abcd"), n.quorum.now})
	n.touch("bc")
	require.True(t, n.leased())
}

// What should follow a Roster, by what is seen of its electors and of others.
func TestWanted(t *testing.T) {
	t.Parallel()
	first := func(names string) (all []member.ID) { return rosterOf(1, names).Electors }
	joining := up("d", 1)
	joining.State = member.StateJoining
	router := up("r", 1)
	router.Role = member.RoleRouter
	for name, s := range map[string]struct {
		of     string
		sees   []*member.Member
		passed time.Duration // since then
		touch  []member.ID   // beside those of the first boots that are up
		mute   string        // who does not answer of these
		some   bool          // not all electors have been asked
		want   []member.ID   // nil: the same
	}{
		"nothing is new":                         {of: "abc", sees: cluster("abc")},
		"a node is new":                          {of: "abc", sees: cluster("abcd"), want: first("abcd")},
		"two are":                                {of: "b", sees: cluster("abc"), want: first("abc")},
		"a node is new, and not all have agreed": {of: "abc", sees: cluster("abcd"), some: true},
		"a node is new, and does not answer":     {of: "abc", sees: cluster("abcd"), mute: "d"},
		"a node joins":                           {of: "abc", sees: append(cluster("abc"), joining)},
		"a router is new":                        {of: "abc", sees: append(cluster("abc"), router)},

		"one has started anew":                                       {of: "abc", sees: without("abc", dead("b", 1), up("b", 2)), touch: []member.ID{id("b", 2)}, want: []member.ID{id("a", 1), id("b", 2), id("c", 1)}},
		"one has, and not all have agreed":                           {of: "abc", sees: without("abc", dead("b", 1), up("b", 2)), touch: []member.ID{id("b", 2)}, some: true, want: []member.ID{id("a", 1), id("b", 2), id("c", 1)}},
		"one has, and does not answer":                               {of: "abc", sees: without("abc", dead("b", 1), up("b", 2))},
		"one has, and joins":                                         {of: "abc", sees: without("abc", dead("b", 1), func() *member.Member { m := up("b", 2); m.State = member.StateJoining; return m }()), touch: []member.ID{id("b", 2)}},
		"one said good-bye":                                          {of: "abc", sees: without("abc", left("b", 1)), want: first("ac")},
		"one said good-bye, and is back":                             {of: "abc", sees: without("abc", left("b", 1), up("b", 2)), touch: []member.ID{id("b", 2)}, want: []member.ID{id("a", 1), id("b", 2), id("c", 1)}},
		"one is leaving":                                             {of: "abc", sees: without("abc", leaving("b", 1)), want: first("ac")},
		"one is leaving whose vote is needed":                        {of: "abc", sees: without("abc", leaving("b", 1), dead("c", 1))},
		"one is leaving whose vote is needed, and one said good-bye": {of: "abcd", sees: without("abcd", leaving("b", 1), left("c", 1), dead("d", 1)), want: first("abd")},
		"one whose vote is needed, and one is new":                   {of: "abc", sees: without("abcd", leaving("b", 1), dead("c", 1)), want: first("acd")},
		"this one is leaving":                                        {of: "abc", sees: without("abc", leaving("a", 1)), want: first("bc")},
		"one is silent":                                              {of: "abc", sees: without("abc", dead("b", 1)), passed: stableAfter - 1},
		"one is silent for long":                                     {of: "abc", sees: without("abc", dead("b", 1)), passed: stableAfter, want: first("ac")},
		"one is forgotten":                                           {of: "abc", sees: cluster("ac"), passed: stableAfter, want: first("ac")},
		"most are silent":                                            {of: "abcde", sees: without("abcde", dead("b", 1), dead("c", 1), dead("d", 1)), passed: stableAfter - 1},
		"one said good-bye, and most would be missing":               {of: "abcd", sees: without("abcd", left("b", 1), dead("c", 1), dead("d", 1))},
		"two said good-bye":                                          {of: "abcd", sees: without("abcd", left("b", 1), left("c", 1)), want: first("ad")},
	} {
		t.Run(name, func(t *testing.T) {
			n := elector("a", s.of)
			if !n.quorum.now.Has(n.self) {
				n = elector("a", "a"+s.of)
				n.counting(s.of)
			}
			n.pass(LeaseTime) // who is silent from here on, is
			n.glance(s.sees...)
			n.pass(s.passed)
			for _, m := range s.sees {
				if m.Up && m.Boot == id("", 1).Boot && !slices.Contains(letters(s.mute), m.Name) {
					n.touch(m.Name)
				}
			}
			for _, who := range s.touch {
				n.answered(who, 0, "")
			}
			n.noteLost(n.now)
			got := n.wanted(n.now, !s.some)
			if s.want == nil {
				require.True(t, got.same(n.quorum.now), "%v", got)
				return
			}
			require.Equal(t, Roster{n.quorum.now.Version + 1, s.want}, got)
		})
	}
}

// A Roster has no more electors than can be told of.
func TestRosterIsFull(t *testing.T) {
	t.Parallel()
	n := still("a", majority)
	n.see(up("b", 1))
	n.touch("b")
	n.learn(n.now, Rosters{Now: Roster{1, append(electorsOf(maxElectors-1), n.self)}})
	require.False(t, n.next(n.now, true, false).Has(id("b", 1)))
	n.learn(n.now, Rosters{Now: Roster{2, append(electorsOf(maxElectors-2), n.self)}})
	require.True(t, n.next(n.now, true, false).Has(id("b", 1)))
}

// proposes says what n proposes at this moment.
func (n *tried) proposes() *Proposal { return n.do(n.Tick(n.now)).Propose }

// Who comes first by name proposes at once; each other one a second later than
// the one before it, if nothing has come about by then.
func TestElectorsProposeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	for rank, name := range letters("abc") {
		n := elector(name, "abc")
		n.glance(cluster("abcd")...)
		n.touch("abcd")
		if rank > 0 {
			require.Nil(t, n.proposes())
			n.pass(time.Duration(rank)*LeaseTime - 1)
			n.touch("abcd")
			require.Nil(t, n.proposes())
			n.pass(1)
			n.touch("abcd")
		}
		p := n.proposes()
		require.Equal(t, &Proposal{Step: Prepare, Version: 1, Ballot: Ballot{1, n.self}, Asked: n.electors(), began: n.now}, p)
		require.Len(t, p.Asked, 2)
		require.NotContains(t, p.Asked, n.self)
		require.Nil(t, n.proposes(), "one is under way")
	}

	n := elector("b", "abc")
	n.pass(LeaseTime)
	n.glance(without("abcd", dead("a", 1))...)
	n.touch("cd")
	require.NotNil(t, n.proposes(), "who does not take part is not waited for")

	n = elector("b", "abc")
	n.glance(cluster("abcd")...)
	n.touch("acd")
	require.Nil(t, n.proposes())
	n.glance(cluster("abc")...)
	require.Nil(t, n.proposes(), "d is gone again")
	n.pass(LeaseTime)
	n.glance(cluster("abcd")...)
	n.touch("acd")
	require.Nil(t, n.proposes(), "its turn counts from now")
}

// Nothing is proposed by one that does not count, that has just learned who
// does, or that does not reach enough; nor where all is as it should be.
func TestNothingIsProposed(t *testing.T) {
	t.Parallel()
	n := elector("a", "abc")
	require.Nil(t, n.proposes(), "all is as it should be")
	n.glance(cluster("abcd")...)
	n.touch("d")
	n.counting("bcd")
	require.Nil(t, n.proposes(), "it does not count")
	n.counting("abc")
	require.NotNil(t, n.proposes())

	n = elector("a", "abc")
	n.glance(cluster("abcd")...)
	n.pass(LeaseTime)
	n.touch("d")
	require.Nil(t, n.proposes(), "b and c are silent")
	n.touch("b")
	require.NotNil(t, n.proposes())

	n = elector("a", "abc")
	n.glance(cluster("abcd")...)
	n.touch("d")
	n.learn(n.now, Rosters{rosterOf(3, "abc"), rosterOf(2, "ab")})
	n.pass(PromiseTime - 1)
	n.touch("bcd")
	require.Nil(t, n.proposes(), "it has just learned who counts")
	n.pass(1)
	n.touch("bcd")
	require.NotNil(t, n.proposes())

	n = still("a")
	n.see(up("b", 1))
	n.touch("b")
	require.Nil(t, n.proposes(), "in the other mode nobody counts")
}

// A view can be what makes a proposal due, too.
func TestViewMakesAProposalDue(t *testing.T) {
	t.Parallel()
	n := elector("a", "abc")
	todo := n.do(n.SetView(n.now, viewOf(n.self, without("abc", left("c", 1))...)))
	require.NotNil(t, todo.Propose)
}

// An elector that has accepted a Roster and hears nothing more proposes, so
// that it comes about, or what was decided does.
func TestAcceptedRosterIsCompleted(t *testing.T) {
	t.Parallel()
	c := id("c", 1)
	for rank, name := range letters("ab") {
		n := elector(name, "abc")
		accept := Proposal{Step: Accept, Version: 1, Ballot: Ballot{3, c}, Roster: rosterOf(2, name+"c")}
		vote, _ := n.Vote(n.now, c, accept)
		require.True(t, vote.Yes)
		n.pass(pendingFor + time.Duration(rank)*LeaseTime - 1)
		n.touch("abc")
		require.Nil(t, n.proposes(), "news may be on its way")
		n.pass(1)
		n.touch("abc")
		p := n.proposes()
		require.Equal(t, &Proposal{Step: Prepare, Version: 1, Ballot: Ballot{4, n.self}, Asked: n.electors(), began: n.now}, p, "above the ballot that it knows")
		require.Equal(t, rosterOf(2, name+"c"), n.quorum.accepted)

		todo := n.Count(n.now, p, votesOf(Vote{Yes: true}, Vote{}))
		require.Equal(t, &Proposal{Step: Accept, Version: 1, Ballot: p.Ballot, Roster: accept.Roster, Asked: p.Asked, began: n.now}, todo.Propose, "not what it wants itself")
		require.Equal(t, p.Ballot, n.quorum.by, "and by the new ballot")
	}
}

// votesOf are the votes of those that are asked, in order.
func votesOf(votes ...Vote) (all []*Vote) {
	for i := range votes {
		all = append(all, &votes[i])
	}
	return all
}

func TestVote(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	two, other := rosterOf(2, "abcd"), rosterOf(2, "abce")
	prepare := func(round uint64, by member.ID) Proposal {
		return Proposal{Step: Prepare, Version: 1, Ballot: Ballot{round, by}}
	}
	accept := func(round uint64, by member.ID, r Roster) Proposal {
		return Proposal{Step: Accept, Version: 1, Ballot: Ballot{round, by}, Roster: r}
	}
	for name, s := range map[string]struct {
		before []Proposal
		is     Proposal
		want   Vote
		beat   bool
	}{
		"the first":                            {is: prepare(1, b), want: Vote{Yes: true, Promised: Ballot{1, b}}},
		"a newer round":                        {before: []Proposal{prepare(1, c)}, is: prepare(2, b), want: Vote{Yes: true, Promised: Ballot{2, b}}},
		"the same round, a larger name":        {before: []Proposal{prepare(1, b)}, is: prepare(1, c), want: Vote{Yes: true, Promised: Ballot{1, c}}},
		"the same round, a smaller name":       {before: []Proposal{prepare(1, c)}, is: prepare(1, b), want: Vote{Promised: Ballot{1, c}}},
		"an older round":                       {before: []Proposal{prepare(2, b)}, is: prepare(1, c), want: Vote{Promised: Ballot{2, b}}},
		"the same again":                       {before: []Proposal{prepare(2, b)}, is: prepare(2, b), want: Vote{Yes: true, Promised: Ballot{2, b}}},
		"to accept":                            {before: []Proposal{prepare(2, b)}, is: accept(2, b, two), want: Vote{Yes: true, Promised: Ballot{2, b}}},
		"to accept, without having been asked": {is: accept(2, b, two), want: Vote{Yes: true, Promised: Ballot{2, b}}},
		"to accept by an older ballot":         {before: []Proposal{prepare(2, b), prepare(3, c)}, is: accept(2, b, two), want: Vote{Promised: Ballot{3, c}}},
		"it has accepted something":            {before: []Proposal{accept(2, b, two)}, is: prepare(3, c), want: Vote{Yes: true, Promised: Ballot{3, c}, By: Ballot{2, b}, Accepted: two}},
		"and something else since":             {before: []Proposal{accept(2, b, two), prepare(3, c), accept(3, c, other)}, is: prepare(4, b), want: Vote{Yes: true, Promised: Ballot{4, b}, By: Ballot{3, c}, Accepted: other}},
		"it has accepted, and refuses":         {before: []Proposal{accept(2, b, two)}, is: prepare(1, c), want: Vote{Promised: Ballot{2, b}}},
		"of an older version":                  {is: Proposal{Step: Prepare, Version: 0, Ballot: Ballot{9, b}}, beat: true},
		"of a newer version":                   {is: Proposal{Step: Accept, Version: 2, Ballot: Ballot{9, b}, Roster: rosterOf(3, "ab")}, beat: true},
		"of the first, where there is one":     {is: Proposal{Step: Found, Ballot: Ballot{9, b}, Roster: rosterOf(1, "ab")}, beat: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := elector("a", "abc")
			for _, p := range s.before {
				vote, _ := n.Vote(n.now, p.Ballot.By, p)
				require.True(t, vote.Yes)
			}
			before := n.quorum
			vote, todo := n.Vote(n.now, s.is.Ballot.By, s.is)
			require.Equal(t, s.want, vote)
			if s.beat {
				require.Equal(t, Todo{Beat: []member.ID{b}}, todo, "one of the two has something to learn")
			} else {
				require.Equal(t, Todo{}, todo)
			}
			switch {
			case !vote.Yes:
				require.Equal(t, before, n.quorum, "as if nothing had been asked")
			case s.is.Step == Accept:
				require.Equal(t, s.is.Roster, n.quorum.accepted)
				require.Equal(t, s.is.Ballot, n.quorum.by)
			default:
				require.Equal(t, before.accepted, n.quorum.accepted)
			}
		})
	}
}

// Neither does one vote that does not count, nor one that has just learned who
// does, nor one to whom nobody counts.
func TestWhoDoesNotVote(t *testing.T) {
	t.Parallel()
	b := id("b", 1)
	ask := func(n *tried, version uint64) bool {
		vote, todo := n.Vote(n.now, b, Proposal{Step: Prepare, Version: version, Ballot: Ballot{9, b}})
		require.Equal(t, Todo{}, todo)
		require.Equal(t, vote.Yes, n.quorum.promised == Ballot{9, b})
		return vote.Yes
	}
	n := elector("a", "abc")
	n.counting("bc")
	require.False(t, ask(n, 2), "it does not count")

	n = elector("a", "abc")
	n.learn(n.now, Rosters{rosterOf(3, "abc"), rosterOf(2, "ab")})
	n.pass(PromiseTime - 1)
	require.False(t, ask(n, 3), "it has just learned who does")
	n.pass(1)
	require.True(t, ask(n, 3))

	n = still("a", majority)
	n.see(up("b", 1))
	require.False(t, ask(n, 0), "it knows of nobody who does")
	n = still("a")
	n.see(up("b", 1))
	require.False(t, ask(n, 0), "in the other mode nobody does")
	vote, _ := n.Vote(n.now, b, Proposal{Step: Found, Ballot: Ballot{1, b}, Roster: rosterOf(1, "ab")})
	require.Equal(t, Vote{}, vote)
}

// proposer returns a, an elector of the first Roster, with what it has just
// proposed.
func proposer(t *testing.T, names, sees string) (*tried, *Proposal) {
	t.Helper()
	n := elector("a", names)
	n.glance(cluster(sees)...)
	n.touch(sees)
	p := n.proposes()
	require.NotNil(t, p)
	return n, p
}

// A proposer that was promised enough has what was accepted by the newest
// ballot accepted, or what it wants; then it is in force.
func TestCount(t *testing.T) {
	t.Parallel()
	b, c := id("b", 1), id("c", 1)
	yes, no := Vote{Yes: true}, Vote{Promised: Ballot{7, c}}
	had := func(round uint64, by member.ID, names string) Vote {
		return Vote{Yes: true, By: Ballot{round, by}, Accepted: rosterOf(2, names)}
	}
	for name, s := range map[string]struct {
		of    string // the electors; a proposes, and d is new
		votes []*Vote
		want  string // what is proposed
	}{
		"all promise":                      {"abc", votesOf(yes, yes), "abcd"},
		"not all do":                       {"abce", []*Vote{&yes, &yes, nil}, ""}, // it adds none then
		"a minority does":                  {"abc", votesOf(no, no), ""},
		"all are silent":                   {"abc", []*Vote{nil, nil}, ""},
		"one had accepted something":       {"abc", votesOf(yes, had(3, b, "ab")), "ab"},
		"two had, by two ballots":          {"abc", votesOf(had(3, b, "ab"), had(4, b, "ac")), "ac"},
		"two had, in the other order":      {"abc", votesOf(had(4, b, "ac"), had(3, b, "ab")), "ac"},
		"one had, and the other refuses":   {"abc", votesOf(had(3, b, "ab"), no), "ab"},
		"who refuses had":                  {"abc", votesOf(yes, Vote{By: Ballot{3, b}, Accepted: rosterOf(2, "ab")}), ""},
		"one had, and the other is silent": {"abc", []*Vote{nil, votesOf(had(3, b, "ab"))[0]}, "ab"},
		"what was accepted is the same":    {"abc", votesOf(yes, had(3, b, "abc")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := proposer(t, s.of, s.of+"d")
			todo := n.Count(n.now, p, s.votes)
			if s.want == "" {
				require.Equal(t, Todo{}, todo)
				require.Equal(t, Roster{}, n.quorum.accepted)
				n.pass(retryAfter - 1)
				n.touch("bcde")
				require.Nil(t, n.proposes(), "another one comes after a pause")
				n.pass(1)
				n.touch("bcde")
				again := n.proposes()
				require.NotNil(t, again)
				require.True(t, again.Ballot.Newer(p.Ballot))
				if slices.ContainsFunc(s.votes, func(v *Vote) bool { return v != nil && v.Promised.Round == 7 }) {
					require.EqualValues(t, 8, again.Ballot.Round, "above all that are known")
				}
				return
			}
			want := &Proposal{Step: Accept, Version: 1, Ballot: p.Ballot, Roster: rosterOf(2, s.want), Asked: p.Asked, began: n.now}
			require.Equal(t, Todo{Propose: want}, todo)
			require.Equal(t, want.Roster, n.quorum.accepted, "it accepts it itself, before it asks")
			require.Equal(t, want.Ballot, n.quorum.by)
			require.Nil(t, n.proposes(), "this one is under way")

			todo = n.Count(n.now, todo.Propose, votesOf(yes, no))
			require.Equal(t, Rosters{want.Roster, rosterOf(1, s.of)}, n.Rosters())
			require.True(t, todo.Round)
			require.Contains(t, todo.Beat, b, "all are told")
			require.Contains(t, todo.Beat, c)
			require.Equal(t, Roster{}, n.quorum.accepted)
			require.True(t, n.quorum.fresh(n.now))
		})
	}
}

// Without the word of all electors names are taken out, and none are added.
func TestNamesAreAddedByAllElectorsOnly(t *testing.T) {
	t.Parallel()
	yes := Vote{Yes: true}
	n := elector("a", "abcd")
	p := n.SetView(n.now, viewOf(n.self, without("abcde", left("b", 1))...)).Propose
	n.touch("cde")
	require.Equal(t, rosterOf(1, "bcd").Electors, p.Asked)
	next := func(votes ...*Vote) Roster { return n.Clone().Count(n.now, p, votes).Propose.Roster }
	require.Equal(t, rosterOf(2, "acde"), next(&yes, &yes, &yes))
	require.Equal(t, rosterOf(2, "acd"), next(nil, &yes, &yes), "b has ended a moment ago")
	n.pass(PromiseTime)
	n.touch("cde")
	require.Nil(t, n.Clone().Count(n.now, p, []*Vote{&yes, &yes, &yes}).Propose, "the votes are too old")
	p.began = n.now
	require.Equal(t, rosterOf(2, "acde"), next(nil, &yes, &yes), "b has ended for sure")
	require.Equal(t, rosterOf(2, "acd"), next(nil, &yes, &Vote{}), "d has not agreed")
}

// What a proposer has accepted itself is what it proposes, if the others have
// accepted nothing newer.
func TestProposerKeepsToWhatItHasAccepted(t *testing.T) {
	t.Parallel()
	c := id("c", 1)
	for others, want := range map[Ballot]string{{2, c}: "ac", {4, c}: "bc"} {
		n := elector("a", "abc")
		vote, _ := n.Vote(n.now, c, Proposal{Step: Accept, Version: 1, Ballot: Ballot{3, c}, Roster: rosterOf(2, "ac")})
		require.True(t, vote.Yes)
		n.pass(pendingFor)
		n.touch("bc")
		p := n.proposes()
		todo := n.Count(n.now, p, votesOf(Vote{Yes: true, By: others, Accepted: rosterOf(2, "bc")}, Vote{}))
		require.Equal(t, rosterOf(2, want), todo.Propose.Roster)
	}
}

// What is not accepted by enough may be decided all the same, by a vote that
// was lost. It is proposed again.
func TestWhatWasNotAcceptedByEnoughIsProposedAgain(t *testing.T) {
	t.Parallel()
	yes := Vote{Yes: true}
	n, p := proposer(t, "abc", "abcd")
	accept := n.Count(n.now, p, votesOf(yes, yes)).Propose
	require.Equal(t, Todo{}, n.Count(n.now, accept, []*Vote{nil, nil}))
	require.EqualValues(t, 1, n.RosterVersion())
	require.Equal(t, accept.Roster, n.quorum.accepted, "it may have been decided")
	require.False(t, n.pinged(id("b", 1)), "so who does not know it gets nothing")
	n.glance(cluster("abc")...) // d is gone, and yet
	n.pass(retryAfter - 1)
	n.touch("bc")
	require.Nil(t, n.proposes())
	n.pass(1)
	n.touch("bc")
	again := n.proposes()
	require.NotNil(t, again)
	require.True(t, again.Ballot.Newer(accept.Ballot))
	accept = n.Count(n.now, again, votesOf(yes, yes)).Propose
	require.Equal(t, rosterOf(2, "abcd"), accept.Roster)
	n.Count(n.now, accept, []*Vote{&yes, nil})
	require.EqualValues(t, 2, n.RosterVersion())
}

// Votes on a proposal that was overtaken decide nothing.
func TestOvertakenProposalDecidesNothing(t *testing.T) {
	t.Parallel()
	yes, c := Vote{Yes: true}, id("c", 1)
	n, p := proposer(t, "abc", "abcd")
	vote, _ := n.Vote(n.now, c, Proposal{Step: Prepare, Version: 1, Ballot: Ballot{5, c}})
	require.True(t, vote.Yes)
	require.Equal(t, Todo{}, n.Count(n.now, p, votesOf(yes, yes)), "it has promised c not to")

	n, p = proposer(t, "abc", "abcd")
	accept := n.Count(n.now, p, votesOf(yes, yes)).Propose
	vote, _ = n.Vote(n.now, c, Proposal{Step: Prepare, Version: 1, Ballot: Ballot{5, c}})
	require.Equal(t, rosterOf(2, "abcd"), vote.Accepted)
	require.Equal(t, Todo{}, n.Count(n.now, accept, votesOf(yes, yes)))
	require.EqualValues(t, 1, n.RosterVersion(), "c will find that it was accepted")

	n, p = proposer(t, "abc", "abcd")
	n.SetRoster(n.now, c, 2, Rosters{rosterOf(2, "ac"), rosterOf(1, "abc")})
	require.Equal(t, Todo{}, n.Count(n.now, p, votesOf(yes, yes)), "another Roster has been decided")
	require.Equal(t, rosterOf(2, "ac"), n.Rosters().Now)
	require.Equal(t, Ballot{}, n.quorum.by)
	n.pass(PromiseTime)
	n.touch("bcd")
	newer := n.proposes()
	require.EqualValues(t, 2, newer.Version)
	require.Equal(t, Todo{}, n.Count(n.now, p, votesOf(yes, yes)))
	require.NotNil(t, n.Count(n.now, newer, votesOf(yes)).Propose, "the next one is under way still")

	n, p = proposer(t, "abc", "abcd")
	require.Equal(t, Todo{}, n.Count(n.now, p, []*Vote{nil, nil}))
	require.Equal(t, Todo{}, n.Count(n.now, p, votesOf(yes, yes)), "it was given up")
}

// Any answer shows that a member is there, one that gives no lease too.
func TestAnswerWithoutALeaseIsAnAnswer(t *testing.T) {
	t.Parallel()
	n := elector("a", "abc")
	n.pass(LeaseTime)
	n.glance(cluster("abcd")...)
	for _, name := range letters("bcd") {
		require.False(t, n.answers(n.now, id(name, 1)))
		n.do(n.Ponged(n.now, n.now-1, id(name, 1), "", nil, false))
		require.True(t, n.answers(n.now, id(name, 1)))
		require.False(t, n.vouches(n.now, id(name, 1)), "it may hold no lease")
	}
	require.Equal(t, n.now-1, n.quorum.seen[id("b", 1)].answered)
	require.NotContains(t, n.quorum.seen, id("d", 1), "of who does not count no account is kept")
	require.NotNil(t, n.proposes())
	n.pass(LeaseTime - 1)
	require.False(t, n.answers(n.now, id("b", 1)), "as long as a lease, since it was asked")
}

// A lone elector decides by itself.
func TestFounderTakesOthersIn(t *testing.T) {
	t.Parallel()
	n := still("a", founder)
	n.glance(cluster("a")...)
	require.Equal(t, Rosters{Now: rosterOf(1, "a")}, n.Rosters())
	require.Nil(t, n.proposes())
	require.True(t, n.leased())
	n.glance(cluster("ab")...)
	n.touch("b")
	p := n.proposes()
	require.Empty(t, p.Asked)
	accept := n.Count(n.now, p, nil).Propose
	require.Equal(t, rosterOf(2, "ab"), accept.Roster)
	n.Count(n.now, accept, nil)
	require.Equal(t, Rosters{rosterOf(2, "ab"), rosterOf(1, "a")}, n.Rosters())
	require.True(t, n.leased(), "by b's word and its own")
	n.pass(LeaseTime)
	require.False(t, n.leased())
}

// expecting is a member that founds a cluster with others.
func expecting(n int) func(*Config) {
	return func(c *Config) { c.Mode, c.Expect = Majority, n }
}

// So many as are expected found a cluster, of those that see each other and
// know of none. The first of them by name proposes it.
func TestFounding(t *testing.T) {
	t.Parallel()
	three := rosterOf(1, "abc")
	for name, s := range map[string]struct {
		self   string
		expect int
		sees   []*member.Member
		touch  string
		knows  string // who knows of a Roster
		want   []member.ID
	}{
		"three are there":                      {"a", 3, cluster("abc"), "bc", "", three.Electors},
		"two are":                              {"a", 3, cluster("ab"), "b", "", nil},
		"one does not answer":                  {"a", 3, cluster("abc"), "b", "", nil},
		"one is not alive":                     {"a", 3, without("abc", dead("c", 1)), "bc", "", nil},
		"one knows of a cluster":               {"a", 3, cluster("abc"), "bc", "c", nil},
		"more than three are":                  {"a", 3, cluster("abcd"), "bcd", "", rosterOf(1, "abcd").Electors},
		"another one is the first":             {"b", 3, cluster("abc"), "ac", "", nil},
		"another one would be, if it answered": {"b", 2, cluster("abc"), "c", "", rosterOf(1, "bc").Electors},
		"it waits to be told":                  {"a", 0, cluster("abc"), "bc", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := still(s.self, expecting(s.expect))
			n.glance(s.sees...)
			n.touch(s.touch)
			for _, name := range letters(s.knows) {
				n.SetRoster(n.now, id(name, 1), 1, Rosters{})
			}
			p := n.proposes()
			if s.want == nil {
				require.Nil(t, p)
				return
			}
			require.Equal(t, &Proposal{Step: Found, Ballot: Ballot{1, n.self}, Roster: Roster{1, s.want}, Asked: n.quorum.accepted.Electors[1:], began: n.now}, p)
			require.Nil(t, n.proposes(), "one is under way")
		})
	}
}

// found lets a, b and c see each other, and a propose the first Roster.
func found(t *testing.T) (a, b, c *tried, p *Proposal) {
	t.Helper()
	all := []*tried{still("a", expecting(3)), still("b", expecting(3)), still("c", expecting(3))}
	for _, n := range all {
		n.glance(cluster("abc")...)
		n.touch("abc")
	}
	p = all[0].proposes()
	require.NotNil(t, p)
	return all[0], all[1], all[2], p
}

// The first Roster is in force when all of it have accepted it, in time: nobody
// else could tell what came of it.
func TestFoundersMustAllAccept(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]struct {
		late time.Duration
		lose bool // c's vote
		no   bool // c's
		want bool
	}{
		"all accept":       {want: true},
		"just in time":     {late: settleTime, want: true},
		"too late":         {late: settleTime + 1},
		"one vote is lost": {lose: true},
		"one refuses":      {no: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, c, p := found(t)
			fromB, _ := b.Vote(b.now, a.self, *p)
			fromC, _ := c.Vote(c.now, a.self, *p)
			require.True(t, fromB.Yes)
			require.True(t, fromC.Yes)
			votes := votesOf(fromB, fromC)
			votes[1].Yes = !s.no
			if s.lose {
				votes[1] = nil
			}
			require.False(t, a.leased())
			a.pass(s.late)
			todo := a.Count(a.now, p, votes)
			if s.want {
				require.Equal(t, Rosters{Now: rosterOf(1, "abc")}, a.Rosters())
				require.Equal(t, []member.ID{b.self, c.self}, todo.Beat, "they are told")
				require.False(t, a.quorum.fresh(a.now), "there is nothing before it to wait for")
				return
			}
			require.Equal(t, Todo{}, todo)
			require.Equal(t, Rosters{}, a.Rosters())
			require.Equal(t, Roster{}, a.quorum.accepted)
			a.pass(retryAfter - 1)
			a.touch("bc")
			require.Nil(t, a.proposes())
			a.pass(1)
			a.touch("bc")
			again := a.proposes()
			require.NotNil(t, again, "it is tried anew")
			require.True(t, again.Ballot.Newer(p.Ballot))
		})
	}
}

// Who has accepted a first Roster accepts no other while that may come about,
// and proposes none.
func TestSecondFoundingIsRefused(t *testing.T) {
	t.Parallel()
	a, b, _, p := found(t)
	vote, _ := b.Vote(b.now, a.self, *p)
	require.True(t, vote.Yes)
	vote, _ = b.Vote(b.now, a.self, *p)
	require.True(t, vote.Yes, "it was asked twice")
	second := Proposal{Step: Found, Ballot: Ballot{9, id("0", 1)}, Roster: rosterOf(1, "0b")}
	b.pass(PromiseTime - 1)
	vote, _ = b.Vote(b.now, id("0", 1), second)
	require.False(t, vote.Yes)
	require.Equal(t, p.Roster, b.quorum.accepted)
	b.glance(cluster("bcd")...)
	b.touch("cd")
	require.Nil(t, b.proposes(), "nor does it propose one")
	require.False(t, b.pinged(id("c", 1)), "and who does not know of it gets nothing")
	b.pass(1)
	b.touch("cd")
	mine := b.Clone().Tick(b.now).Propose
	require.NotNil(t, mine, "nothing has come of it")
	require.Equal(t, rosterOf(1, "bcd"), mine.Roster)
	vote, _ = b.Vote(b.now, id("0", 1), second)
	require.True(t, vote.Yes)
	require.Equal(t, second.Roster, b.quorum.accepted)

	vote, _ = a.Vote(a.now, id("0", 1), second)
	require.False(t, vote.Yes, "a founder keeps to its own")
}

// A member that is needed stays until the others can do without it.
func TestMayLeave(t *testing.T) {
	t.Parallel()
	n := elector("a", "abc")
	require.False(t, n.MayLeave(), "it counts")
	n.counting("bc")
	require.True(t, n.MayLeave(), "the others do without it")

	n = elector("a", "abc")
	n.glance(append(each(leaving, "ab"), up("c", 1))...)
	require.False(t, n.MayLeave(), "c stays")
	n.glance(each(leaving, "abc")...)
	require.True(t, n.MayLeave(), "nobody stays")
	n.glance(append(each(leaving, "ab"), dead("c", 1))...)
	require.False(t, n.MayLeave(), "c may only stand still")
	n.glance(append(each(leaving, "ab"), refused("c", 1))...)
	require.True(t, n.MayLeave(), "nobody is left to stay")
	n.glance(append(each(leaving, "abc"), up("d", 1))...)
	require.False(t, n.MayLeave(), "d is to count first")
	joining := up("d", 1)
	joining.State = member.StateJoining
	n.glance(append(each(leaving, "abc"), joining)...)
	require.False(t, n.MayLeave(), "so is one that joins")
	router := up("r", 1)
	router.Role = member.RoleRouter
	n.glance(append(each(leaving, "abc"), router, dead("d", 1))...)
	require.True(t, n.MayLeave(), "a router never counts, and neither does who never did and is gone")
	n = still("a")
	n.glance(cluster("ab")...)
	require.True(t, n.MayLeave(), "nobody counts")
}
