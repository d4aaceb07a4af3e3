package ownership

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// assembly is a few processes that decide who counts, and what is on its way
// between them.
type assembly struct {
	t      *rapid.T
	now    time.Duration
	expect int // how many found the cluster
	procs  map[string]*process
	sent   []letter
	known  map[uint64]Roster // by their versions, all that anybody has learned of
	// decided counts the Rosters that somebody has decided.
	decided int
}

// process is the newest boot of a member.
type process struct {
	*Core
	boot                  int
	skew                  time.Duration // of its clock
	running, frozen, left bool
	sees                  map[string]*member.Member
	box                   *ballotBox
}

// ballotBox has the votes on a proposal that is under way.
type ballotBox struct {
	*Proposal
	began time.Duration
	votes []*Vote
}

// letter is a message.
type letter struct {
	to   member.ID
	read func(*process)
}

func (a *assembly) time(p *process) time.Duration { return a.now + p.skew }

// running are the processes that do something at this moment, by name.
func (a *assembly) running() (all []*process) {
	for _, name := range slices.Sorted(maps.Keys(a.procs)) {
		if p := a.procs[name]; p.running && !p.frozen {
			all = append(all, p)
		}
	}
	return all
}

// pick draws one of the processes for which ok is true, nil if there is none.
func (a *assembly) pick(ok func(*process) bool) *process {
	var all []*process
	for _, name := range slices.Sorted(maps.Keys(a.procs)) {
		if p := a.procs[name]; ok(p) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(a.t, "member")
}

func (p *process) acts() bool { return p.running && !p.frozen }

// start starts a process, which sees all that run.
func (a *assembly) start(name string) {
	p := &process{boot: 1, running: true, sees: make(map[string]*member.Member)}
	cfg := Config{Self: id(name, 1), Mode: Majority, Partitions: 1}
	if old := a.procs[name]; old != nil {
		p.boot = old.boot + 1
		cfg.Self = id(name, p.boot)
	} else if len(a.procs) < a.expect {
		cfg.Expect = a.expect
	}
	p.skew = time.Minute + time.Duration(rapid.IntRange(0, 1000).Draw(a.t, "skew"))*time.Second
	p.Core = New(cfg, viewOf(cfg.Self))
	a.procs[name] = p
	a.truth(p)
}

// truth shows a process all that run.
func (a *assembly) truth(p *process) {
	for name, q := range a.procs {
		if q.running {
			p.sees[name] = up(name, q.boot)
		} else {
			p.sees[name] = a.gone(q)
		}
	}
	a.look(p)
}

// gone is how a process is seen that has ended.
func (a *assembly) gone(q *process) *member.Member {
	m := dead(q.self.Name, q.boot)
	m.Left = q.left
	return m
}

// look gives a process the view that follows from what it sees.
func (a *assembly) look(p *process) {
	p.sees[p.self.Name] = up(p.self.Name, p.boot)
	var members []*member.Member
	for _, name := range slices.Sorted(maps.Keys(p.sees)) {
		members = append(members, p.sees[name])
	}
	a.do(p, p.SetView(a.time(p), viewOf(p.self, members...)))
}

func (a *assembly) send(to member.ID, read func(*process)) {
	a.sent = append(a.sent, letter{to, read})
	if len(a.sent) > 60 {
		a.sent = a.sent[1:]
	}
}

// deliver brings the letter at a place of the list, and keeps it if it is to
// come once more.
func (a *assembly) deliver(at int, keep bool) {
	l := a.sent[at]
	p := a.procs[l.to.Name]
	if p.frozen && p.self == l.to {
		return
	}
	if !keep {
		a.sent = slices.Delete(a.sent, at, at+1)
	}
	if p.running && p.self == l.to {
		l.read(p)
	}
}

// beat sends a heartbeat from p.
func (a *assembly) beat(p *process, to member.ID) {
	from, sent, version := p.self, a.time(p), p.RosterVersion()
	a.send(to, func(q *process) {
		first := q.SetRoster(a.time(q), from, version, Rosters{})
		lease, _, todo := q.Pinged(a.time(q), from, "", 0)
		knows, rosters := q.RosterVersion(), Rosters{}
		if knows > version {
			rosters = a.wire(q.Rosters())
		}
		a.send(from, func(p *process) {
			if a.time(p)-sent > time.Second {
				return // nobody waits for it any more
			}
			a.do(p, p.SetRoster(a.time(p), q.self, knows, rosters))
			a.do(p, p.Ponged(a.time(p), sent, q.self, "", nil, lease))
		})
		a.do(q, first)
		a.do(q, todo)
	})
}

func (a *assembly) wire(r Rosters) Rosters {
	r, err := DecodeRosters(r.Encode())
	require.NoError(a.t, err)
	return r
}

// do does what a Core wants done.
func (a *assembly) do(p *process, todo Todo) {
	for _, who := range todo.Beat {
		a.beat(p, who)
	}
	if todo.Propose == nil {
		return
	}
	prop := todo.Propose
	p.box = &ballotBox{prop, a.now, make([]*Vote, len(prop.Asked))}
	for i, who := range prop.Asked {
		sent, err := DecodeProposal(prop.Encode())
		require.NoError(a.t, err)
		a.send(who, func(q *process) {
			v, todo := q.Vote(a.time(q), p.self, sent)
			a.do(q, todo)
			v, err := DecodeVote(v.Encode())
			require.NoError(a.t, err)
			a.send(p.self, func(p *process) {
				if p.box == nil || p.box.Proposal != prop || p.box.votes[i] != nil {
					return
				}
				p.box.votes[i] = &v
				a.countIf(p)
			})
		})
	}
	a.countIf(p)
}

// countIf counts the votes if all are there, or have been waited for for
// long.
func (a *assembly) countIf(p *process) {
	if p.box != nil && (a.now-p.box.began >= ClaimTimeout || !slices.Contains(p.box.votes, nil)) {
		box := p.box
		p.box = nil
		before := p.RosterVersion()
		todo := p.Count(a.time(p), box.Proposal, box.votes)
		if p.RosterVersion() > before {
			a.decided++
		}
		a.do(p, todo)
	}
}

// pass lets time go by.
func (a *assembly) pass(d time.Duration) {
	a.now += d
	for _, p := range a.running() {
		a.countIf(p)
		a.do(p, p.Tick(a.time(p)))
	}
}

// calm lets all that run exchange heartbeats, and delivers all.
func (a *assembly) calm() {
	for _, p := range a.running() {
		for _, q := range a.running() {
			if p != q {
				a.beat(p, q.self)
			}
		}
	}
	for range 500 {
		at := slices.IndexFunc(a.sent, func(l letter) bool { return !a.procs[l.to.Name].frozen || a.procs[l.to.Name].self != l.to })
		if at < 0 {
			return
		}
		a.deliver(at, false)
	}
}

// check says whether all know the same Roster of each version.
func (a *assembly) check(step string) {
	for name, p := range a.procs {
		for _, r := range [...]Roster{p.quorum.now, p.quorum.before} {
			if r.Version == 0 {
				continue
			}
			if one, known := a.known[r.Version]; known {
				require.Equal(a.t, one.Electors, r.Electors, "%s: %s knows another roster %d", step, name, r.Version)
			}
			a.known[r.Version] = r
		}
	}
}

// However members start, end, stand still and lose sight of each other, and
// whatever becomes of their messages, there is one Roster of each version.
func TestThereIsOneRosterOfEachVersion(t *testing.T) {
	decided := 0
	rapid.Check(t, func(t *rapid.T) {
		a := &assembly{t: t, now: time.Minute, procs: make(map[string]*process), known: make(map[uint64]Roster)}
		a.expect = rapid.SampledFrom([]int{1, 3}).Draw(t, "expect")
		all := letters("abcde")
		for _, name := range all[:rapid.IntRange(a.expect, 5).Draw(t, "members")] {
			a.start(name)
		}
		truth := func() {
			for _, p := range a.running() {
				a.truth(p)
			}
		}
		truth()
		for range 4 { // they found the cluster in peace
			a.calm()
			a.pass(500 * time.Millisecond)
		}
		for _, p := range a.running() {
			require.Positive(t, p.RosterVersion())
		}
		running := func(p *process) bool { return p.acts() }
		steps := map[string]func(){
			"deliver": func() {
				for range rapid.IntRange(1, 6).Draw(t, "letters") {
					if len(a.sent) > 0 {
						a.deliver(rapid.IntRange(0, len(a.sent)-1).Draw(t, "letter"), rapid.IntRange(0, 9).Draw(t, "keep") == 0)
					}
				}
			},
			"lose": func() {
				for range rapid.IntRange(1, 6).Draw(t, "letters") {
					if len(a.sent) > 0 {
						at := rapid.IntRange(0, len(a.sent)-1).Draw(t, "letter")
						a.sent = slices.Delete(a.sent, at, at+1)
					}
				}
			},
			"a moment": func() { a.pass(time.Duration(rapid.IntRange(1, 8).Draw(t, "ticks")) * 125 * time.Millisecond) },
			"a while": func() {
				a.pass(rapid.SampledFrom([]time.Duration{PromiseTime, touchTime, stableAfter}).Draw(t, "while"))
			},
			"calm": func() {
				a.calm()
				a.pass(500 * time.Millisecond)
			},
			"calm for long": func() {
				truth()
				for range 8 {
					a.calm()
					a.pass(500 * time.Millisecond)
				}
			},
			"beat": func() {
				p, q := a.pick(running), a.pick(running)
				if p != nil && p != q {
					a.beat(p, q.self)
				}
			},
			"truth": truth,
			"sight": func() { // true, or a suspicion
				p, q := a.pick(running), a.pick(func(*process) bool { return true })
				if p == nil || p == q {
					return
				}
				switch m := rapid.SampledFrom([]*member.Member{up(q.self.Name, q.boot), a.gone(q), nil}).Draw(t, "sight"); {
				case m == nil:
					delete(p.sees, q.self.Name)
				case m.Up && !q.running:
				default:
					p.sees[q.self.Name] = m
				}
				a.look(p)
			},
			"end": func() {
				if p := a.pick(func(p *process) bool { return p.running }); p != nil && len(a.running()) > 1 {
					p.running, p.frozen = false, false
					p.left = p.MayLeave() && rapid.Bool().Draw(t, "good-bye")
				}
			},
			"start": func() {
				for _, name := range all {
					if p := a.procs[name]; p == nil || !p.running {
						a.start(name)
						return
					}
				}
			},
			"freeze": func() {
				if p := a.pick(running); p != nil {
					p.frozen = true
				}
			},
			"resume": func() {
				for _, p := range a.procs {
					p.frozen = false
				}
			},
		}
		names := slices.Sorted(maps.Keys(steps))
		likely := append(names, "deliver", "deliver", "deliver", "a moment", "calm", "calm for long", "calm for long", "calm for long", "start", "truth", "sight")
		for range rapid.IntRange(20, 120).Draw(t, "steps") {
			name := rapid.SampledFrom(likely).Draw(t, "step")
			steps[name]()
			a.check(name)
		}
		decided += a.decided
	})
	require.Greater(t, decided, 20, "it is tried on some")
}
