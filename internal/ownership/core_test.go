package ownership

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
)

// The tests are made of these two, so they have short names.
var id, up = membertest.ID, membertest.Up

// dead is a node that gossip has given up: it may be frozen, and come back.
func dead(name string, boot int) *member.Member {
	m := up(name, boot)
	m.Up, m.Gone = false, true
	return m
}

// refused is a node whose process has ended.
func refused(name string, boot int) *member.Member {
	m := dead(name, boot)
	m.Ended = true
	return m
}

// left is a node that has said good-bye.
func left(name string, boot int) *member.Member {
	m := dead(name, boot)
	m.Left = true
	return m
}

// cluster are the first boots of ready nodes, each with a letter for its name.
func cluster(names string) (members []*member.Member) {
	for _, name := range letters(names) {
		members = append(members, up(name, 1))
	}
	return members
}

func letters(names string) (all []string) {
	for _, c := range names {
		all = append(all, string(c))
	}
	return all
}

var params = ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}

// tables are the rings of the sets of members that these tests look at: equal
// sets have one table, as consecutive views have.
var tables sync.Map

func tableOf(names []string) *ring.Table {
	key := strings.Join(names, ",")
	if table, ok := tables.Load(key); ok {
		return table.(*ring.Table)
	}
	table, err := ring.New(names, params)
	if err != nil {
		panic(err)
	}
	first, _ := tables.LoadOrStore(key, table)
	return first.(*ring.Table)
}

// viewOf is self's view of members.
func viewOf(self member.ID, members ...*member.Member) *member.View {
	var names []string
	for _, m := range members {
		if m.Serves() {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	// A view takes the table of the last one over where the names are the same.
	v, err := member.NewView(self, members, params, &member.View{Table: tableOf(names)})
	if err != nil {
		panic(err)
	}
	return v
}

// tried is a Core with what its driver keeps: a clock, and a store.
type tried struct {
	*Core
	now  time.Duration
	open map[int]bool
	sums map[int]Sum  // of copies that are not empty, and known
	held map[int]bool // by an operation, so that their sums are not known
}

// still returns a Core to which nothing has happened: what it knows of others
// is what the test tells it.
func still(name string, change ...func(*Config)) *tried {
	cfg := Config{Self: id(name, 1)}
	for _, f := range change {
		f(&cfg)
	}
	return &tried{
		Core: New(cfg, viewOf(cfg.Self)), now: time.Minute,
		open: make(map[int]bool), sums: make(map[int]Sum), held: make(map[int]bool),
	}
}

func majority(c *Config) { c.Mode = Majority }

// founder founds a cluster in mode Majority alone.
func founder(c *Config) { c.Mode, c.Expect = Majority, 1 }

// counting makes these, and no others, count in mode Majority, and has for
// long.
func (n *tried) counting(names string) {
	r := Roster{Version: n.quorum.now.Version + 1}
	for _, name := range letters(names) {
		r.Electors = append(r.Electors, id(name, 1))
	}
	n.learn(n.now, Rosters{Now: r})
	for _, p := range n.peers {
		p.roster = r.Version
	}
}

// pass lets time go by.
func (n *tried) pass(d time.Duration) { n.now += d }

// do does what a step wants done at once, as a driver does.
func (n *tried) do(todo Todo) Todo {
	for _, p := range todo.Close {
		delete(n.open, p)
	}
	for _, o := range todo.Open {
		n.open[o.Partition] = true
	}
	return todo
}

// glance gives n the view that has these members, itself only if it is one.
func (n *tried) glance(members ...*member.Member) *member.View {
	n.do(n.SetView(n.now, viewOf(n.self, members...)))
	return n.View()
}

// see gives n the view that has these members and itself.
func (n *tried) see(members ...*member.Member) *member.View {
	return n.glance(append([]*member.Member{up(n.self.Name, 1)}, members...)...)
}

// serving makes n serve p under the given epoch.
func (n *tried) serving(p int, epoch uint64) {
	n.setHolder(p, Claim{epoch, n.self})
	n.setPhase(p, Warm)
	n.open[p] = true
}

// fetching makes n serve p, which some holders have a different copy of.
func (n *tried) fetching(p int, epoch uint64, sources ...member.ID) {
	n.setHolder(p, Claim{epoch, n.self})
	n.parts[p].sources = sources
	n.setPhase(p, Fetching)
	n.open[p] = true
}

// sumsOf are the sums of what is in n's store.
func (n *tried) sumsOf(parts []int) []Sum {
	sums := make([]Sum, len(parts))
	for i, p := range parts {
		if !n.held[p] {
			sums[i] = n.sums[p]
			sums[i].Known = true
		}
	}
	return sums
}

// judge takes from's claim of parts, as it comes over the wire.
func (n *tried) judge(t require.TestingT, from member.ID, r Request) (*Judgement, Todo) {
	r, err := DecodeRequest(r.Encode())
	require.NoError(t, err)
	j, todo := n.Judge(n.now, from, r)
	require.True(t, todo.Round, "if nobody ever serves by this claim, the next round may claim anew")
	return j, n.do(todo)
}

// answer is what the claimant is told, as it comes over the wire.
func (n *tried) answer(t require.TestingT, j *Judgement) (answers []Answer, busy int) {
	answers, busy = n.Answer(n.now, j)
	var b []byte
	for _, a := range answers {
		b = a.Append(b, true)
	}
	answers, err := DecodeAnswers(b, len(answers))
	require.NoError(t, err)
	return answers, busy
}

// ask makes from's claim of p, which waits for the consent of n and of the
// others that are asked.
func (n *tried) ask(t require.TestingT, from member.ID, epoch uint64, fingerprint string, p int, asked ...member.ID) Answer {
	j, _ := n.judge(t, from, Request{epoch, fingerprint, append(asked, n.self), []int{p}})
	require.True(t, j.SetSums(n.sumsOf(j.Unsummed())))
	answers, busy := n.answer(t, j)
	require.Zero(t, busy)
	return answers[0]
}

// begin starts a round, and returns the part of it that is about p.
func (n *tried) begin(t require.TestingT, p int) *Round {
	todo, complete := n.Round(n.now)
	require.False(t, complete)
	require.NotNil(t, todo.Claim)
	require.Contains(t, todo.Claim.Parts, p)
	require.Equal(t, Claiming, n.gate.Phase(p))
	r := *todo.Claim
	r.Parts = []int{p}
	return &r
}

// settle ends a round with the answers of its voters.
func (n *tried) settle(r *Round, answers ...[]Answer) Todo {
	return n.do(n.Settle(n.now, r, answers, n.sumsOf(r.Parts)))
}

// overOf is what is told of a round that is given up: to all that were asked.
func overOf(r *Round) *Over { return &Over{Epoch: r.Epoch, Parts: r.Parts, Asked: r.Asked} }

// answered says that a member has answered a heartbeat that was sent so long
// ago.
func (n *tried) answered(who member.ID, ago time.Duration, fingerprint string) Todo {
	return n.do(n.Ponged(n.now, n.now-ago, who, fingerprint, nil, true))
}

// pinged says whether n gives a member a lease when it asks.
func (n *tried) pinged(who member.ID) (lease bool) {
	lease, _, _ = n.Pinged(n.now, who, "", n.gate.ClaimsHash())
	return lease
}

// Who may be running is a peer: one that gossip has given up, too, as it may be
// frozen and come back, and what it has answered still counts.
func TestPeersAreThoseThatMayBeRunning(t *testing.T) {
	t.Parallel()
	router := up("r", 1)
	router.Role = member.RoleRouter
	joining := up("j", 1)
	joining.State = member.StateJoining
	n := still("a")
	n.see(up("b", 1), router, joining)
	peers := func() []member.ID { return slices.SortedFunc(maps.Keys(n.peers), member.ID.Compare) }
	require.Equal(t, []member.ID{id("b", 1), id("j", 1)}, peers(), "neither a router nor the member itself")
	n.answered(id("b", 1), 0, "ring")
	heard := *n.peers[id("b", 1)]

	n.see(dead("b", 1))
	require.Equal(t, []member.ID{id("b", 1)}, peers(), "gossip has forgotten j")
	require.Equal(t, heard, *n.peers[id("b", 1)])
	n.see(up("b", 1))
	require.Equal(t, heard, *n.peers[id("b", 1)], "it goes on as if nothing had been")
	n.see(refused("b", 1))
	require.Equal(t, []member.ID{id("b", 1)}, peers(), "an address that refuses may be on the wrong side of a cut")
	n.see(dead("b", 1), up("b", 2))
	require.Equal(t, []member.ID{id("b", 2)}, peers(), "its place is taken")
	n.see(left("b", 2))
	require.Empty(t, peers(), "it has said good-bye")
	n.see(dead("c", 1))
	require.Empty(t, peers(), "it was never seen alive")
}

func TestVouched(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	n.see(up("b", 1))
	require.False(t, n.vouches(n.now, b), "never heard")
	n.pass(time.Minute)
	n.answered(b, 0, "")
	require.True(t, n.vouches(n.now, b))
	n.pass(LeaseTime)
	require.False(t, n.vouches(n.now, b))

	require.True(t, n.pinged(b))
	require.True(t, n.vouches(n.now, b), "it may hold a lease that was given here")
	n.pass(LeaseTime - 1)
	require.True(t, n.vouches(n.now, b), "for as long as that lease lasts")
	n.pass(1)
	require.False(t, n.vouches(n.now, b))

	for i := range 50 { // a second is also as long as promises are kept
		n.pinged(id("m", i))
		n.pass(LeaseTime / 10)
	}
	require.LessOrEqual(t, len(n.granted), 11)
}

// A claim needs the consent of all that take part, and of those that gossip has
// given up but that this member has heard of: they may be alive.
func TestVoters(t *testing.T) {
	t.Parallel()
	joining, leaving := up("j", 1), up("l", 1)
	joining.State, leaving.State = member.StateJoining, member.StateLeaving
	members := []*member.Member{up("b", 1), up("c", 1), up("d", 1), up("e", 1), joining, leaving}
	n := still("a")
	n.see(members...)
	require.Equal(t, []member.ID{id("b", 1), id("c", 1), id("d", 1), id("e", 1), joining.ID, leaving.ID}, n.voters(n.now), "whatever they own")
	n.Pinged(n.now, joining.ID, n.view.Table.Fingerprint(), n.gate.ClaimsHash())
	require.NotContains(t, n.voters(n.now), joining.ID, "it sees the same ring, and asks this member before it serves")
	joining.Keeps = true
	require.NotContains(t, n.voters(n.now), joining.ID, "it has sessions from its disk, and nobody reaches its peer port")
	n.answered(joining.ID, 0, n.view.Table.Fingerprint())
	require.Contains(t, n.voters(n.now), joining.ID, "it may have what nobody else has")
	n.pass(LeaseTime)
	n.Pinged(n.now, joining.ID, n.view.Table.Fingerprint(), n.gate.ClaimsHash())
	require.NotContains(t, n.voters(n.now), joining.ID, "it is not reached any more")
	joining.Keeps = false
	n.Pinged(n.now, joining.ID, "another", n.gate.ClaimsHash())
	require.Contains(t, n.voters(n.now), joining.ID, "it may not know that this member has its place")
	n.Pinged(n.now, joining.ID, n.view.Table.Fingerprint(), n.gate.ClaimsHash())
	n.quorum.now = Roster{1, []member.ID{joining.ID}}
	require.Contains(t, n.voters(n.now), joining.ID, "an elector")
	n.quorum.now = Roster{}
	n.pass(LeaseTime)
	require.Contains(t, n.voters(n.now), joining.ID, "that was a while ago")
	n.answered(id("c", 1), 0, "")
	n.pinged(id("d", 1))
	n.answered(id("e", 1), 0, "")
	n.see(dead("b", 1), dead("c", 1), dead("d", 1), refused("e", 1))
	require.Equal(t, []member.ID{id("c", 1), id("d", 1)}, n.voters(n.now), "b is silent, and e has ended")
	n.pass(LeaseTime)
	require.Empty(t, n.voters(n.now))
}

// While a copy is forgotten nobody can say what is here. So the partition is
// not claimed then, and no other drop of it begins.
func TestCopyIsDroppedOnlyWhereItIsNotServed(t *testing.T) {
	t.Parallel()
	n := still("a")
	p := membertest.OwnedBy(t, n.see(), "a")
	for _, phase := range []Phase{Claiming, Fetching, Warm} {
		n.setPhase(p, phase)
		require.False(t, n.BeginDrop(n.now, p), "it is %s here again", phase)
	}
	n.setPhase(p, Away)
	require.True(t, n.BeginDrop(n.now, p))
	require.False(t, n.BeginDrop(n.now, p), "nor is it dropped twice at a time")
	todo, complete := n.Round(n.now)
	require.NotContains(t, todo.Claim.Parts, p, "nor claimed")
	require.False(t, complete)
	require.Equal(t, Away, n.gate.Phase(p))

	n.EndDrop(n.now, p, false)
	require.Equal(t, -NeverLeft, n.parts[p].leftAt(), "something had arrived: it is here still")
	require.True(t, n.BeginDrop(n.now, p))
	n.pass(time.Second)
	n.EndDrop(n.now, p, true)
	require.Equal(t, n.now, n.parts[p].leftAt())
	require.True(t, n.BeginDrop(n.now, p), "another copy can come")
	n.EndDrop(n.now+time.Second, p, false)
	require.Equal(t, n.now, n.parts[p].leftAt(), "that one stays, the first one is gone all the same")
	todo, _ = n.Round(n.now)
	require.Equal(t, []int{p}, todo.Claim.Parts)
}

// Readers see what the Core knows after each step; and what it has stopped or
// begun to serve is what it wants closed or opened, whatever happens.
func TestTodoListsExactlyWhatWasGivenUpAndOpened(t *testing.T) {
	const partitions = 4
	boots := []member.ID{id("b", 1), id("c", 1), id("c", 2), id("a", 0)}
	anyBoot, anyPart := rapid.SampledFrom(boots), rapid.IntRange(0, partitions-1)
	anyParts := rapid.SliceOfNDistinct(anyPart, 1, partitions, rapid.ID[int])
	views := []*member.View{
		viewOf(id("a", 1), cluster("a")...), viewOf(id("a", 1), cluster("abc")...), viewOf(id("a", 1), append(cluster("ab"), dead("c", 1))...),
		viewOf(id("a", 1), append(cluster("ab"), dead("c", 1), up("c", 2))...), viewOf(id("a", 1), append(cluster("b"), dead("a", 0))...),
	}
	few := rapid.SampledFrom([]uint64{0, 0, 1, 2})
	rapid.Check(t, func(t *rapid.T) {
		n := still("a", func(c *Config) { c.Partitions = partitions })
		epoch := func() uint64 { return max(1, n.maxEpoch+uint64(rapid.IntRange(0, 2).Draw(t, "above"))-1) }
		fingerprint := func() string {
			return rapid.SampledFrom([]string{n.view.Table.Fingerprint(), "other"}).Draw(t, "ring")
		}
		sums := func(parts []int) []Sum {
			sums := make([]Sum, len(parts))
			for i := range sums {
				sums[i] = Sum{Digest: few.Draw(t, "digest"), Known: rapid.IntRange(0, 3).Draw(t, "busy") > 0}
			}
			return sums
		}
		var rounds []*Round
		var judged []*Judgement
		steps := map[string]func(t *rapid.T) Todo{
			"pass": func(t *rapid.T) Todo {
				n.pass(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
				return n.Tick(n.now)
			},
			"view": func(t *rapid.T) Todo { return n.SetView(n.now, views[rapid.IntRange(0, len(views)-1).Draw(t, "view")]) },
			"pong": func(t *rapid.T) Todo {
				table := n.Claims()
				for _, p := range anyParts.Draw(t, "claimed") {
					table[p] = Claim{epoch(), rapid.SampledFrom(append(boots, n.self)).Draw(t, "by")}
				}
				return n.Ponged(n.now, n.now, anyBoot.Draw(t, "from"), fingerprint(), table, rapid.Bool().Draw(t, "lease"))
			},
			"ping": func(t *rapid.T) Todo {
				_, _, todo := n.Pinged(n.now, anyBoot.Draw(t, "from"), fingerprint(), 0)
				return todo
			},
			"resumed": func(*rapid.T) Todo { return n.Resumed(n.now) },
			"asked":   func(*rapid.T) Todo { return n.AskFailed(n.now) },
			"round": func(*rapid.T) Todo {
				todo, _ := n.Round(n.now)
				if todo.Claim != nil {
					rounds = append(rounds, todo.Claim)
				}
				return todo
			},
			"settle": func(t *rapid.T) (todo Todo) {
				if len(rounds) == 0 {
					return todo
				}
				r := rounds[0]
				rounds = rounds[1:]
				answers := make([][]Answer, len(r.Asked))
				for i := range answers {
					if rapid.IntRange(0, 5).Draw(t, "silent") == 0 {
						continue
					}
					for range r.Parts {
						status := rapid.SampledFrom([]Status{Accepted, Accepted, Accepted, Moved, Stale, Early}).Draw(t, "status")
						answers[i] = append(answers[i], Answer{Status: status, Epoch: epoch(), Claimant: anyBoot.Draw(t, "by").String(), Digest: few.Draw(t, "digest"), Count: 1})
					}
				}
				return n.Settle(n.now, r, answers, sums(r.Parts))
			},
			"judge": func(t *rapid.T) Todo {
				j, todo := n.Judge(n.now, anyBoot.Draw(t, "from"), Request{epoch(), fingerprint(), append(boots[:1:1], n.self), anyParts.Draw(t, "parts")})
				judged = append(judged, j)
				return todo
			},
			"answer": func(t *rapid.T) (todo Todo) {
				if len(judged) > 0 {
					judged[0].SetSums(sums(judged[0].Unsummed()))
					n.Answer(n.now, judged[0])
					judged = judged[1:]
				}
				return todo
			},
			"fetched": func(t *rapid.T) (todo Todo) {
				p := anyPart.Draw(t, "partition")
				_, epoch, _ := n.Sources(p)
				sources := n.parts[p].sources
				silent := rapid.IntRange(0, len(sources)).Draw(t, "unreached")
				if !n.SetUnreached(p, epoch, nil, sources[:silent], sources[rapid.IntRange(silent, len(sources)).Draw(t, "ended"):]) {
					n.Fetched(p, epoch)
				}
				return todo
			},
			"drop": func(t *rapid.T) (todo Todo) {
				if p := anyPart.Draw(t, "partition"); n.BeginDrop(n.now, p) {
					n.EndDrop(n.now, p, rapid.Bool().Draw(t, "dropped"))
				}
				return todo
			},
		}
		names := slices.Sorted(maps.Keys(steps))
		n.SetView(n.now, views[1])
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := slices.Clone(n.parts)
			name := rapid.SampledFrom(names).Draw(t, "step")
			todo := steps[name](t)

			var closed, opened []int
			for _, o := range todo.Open {
				opened = append(opened, o.Partition)
				require.Equal(t, o.Fetch, n.parts[o.Partition].phase == Fetching)
			}
			for p := range n.parts {
				was, part := before[p].phase, &n.parts[p]
				// A claim of one's own that Settle gives up was never open.
				if was != Away && part.phase == Away && (name != "settle" || was != Claiming) {
					closed = append(closed, p)
				}
				require.Equal(t, !before[p].serving() && part.serving(), slices.Contains(opened, p), "%s: partition %d was %s and is %s", name, p, was, part.phase)
				require.Equal(t, standing{part.phase, part.unsure.any(), part.holder, part.promised, part.promisedAt, part.own, part.kept, part.lost}, *n.gate.parts[p].Load(), "%s: readers see partition %d as it is", name, p)
				require.False(t, part.holder.Newer(part.promised), "what is in force is the least that is agreed to")
				require.False(t, before[p].holder.Newer(part.holder), "no older claim comes back into force")
				require.LessOrEqual(t, part.promised.Epoch, n.maxEpoch)
				if part.serving() {
					require.Equal(t, n.self, part.holder.By)
				}
			}
			require.ElementsMatch(t, closed, todo.Close, name)
			require.Equal(t, hashOf(n.Core), n.gate.ClaimsHash(), name)
		}
	})
}
