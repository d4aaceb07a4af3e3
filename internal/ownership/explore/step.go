package explore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// verb is a kind of step.
type verb uint8

const (
	stepTick verb = iota
	stepDeliver
	stepLose
	stepRepeat
	stepClaim
	stepSettle
	stepCount
	stepView
	stepBeat
	stepReady
	stepNotice
	stepFreeze
	stepResume
	stepCrash
	stepStart
	stepDrain
	stepLeave
	stepFetch
	stepHandOver
	stepRepair
	stepWrite
	stepCut
	stepHalve
	stepHold
	stepRelease
	stepHeal
	verbs
)

// step is one line of a scenario, in brief. What a and b are depends on the
// verb: members, partitions, places in the list of messages.
type step struct {
	verb verb
	a, b uint8
}

// Bounds say how often each fault, and what else could go on for ever, may
// happen on one way.
type Bounds struct {
	Crashes, Starts, Drains, Leaves, Freezes int
	Losses, Repeats                          int
	// Holds stall a link in one direction; Cuts separate one member from all,
	// and Halves two of four or more.
	Holds, Cuts, Halves int
	Claims              int
	Writes, Ticks       int
}

// bounded lists the bounds by what they bound.
func (b Bounds) bounded() (most [verbs]uint8) {
	for v := range most {
		most[v] = 255
	}
	for v, n := range map[verb]int{
		stepCrash: b.Crashes, stepStart: b.Starts, stepDrain: b.Drains, stepLeave: b.Leaves, stepFreeze: b.Freezes, stepLose: b.Losses, stepRepeat: b.Repeats,
		stepHold: b.Holds, stepCut: b.Cuts, stepHalve: b.Halves, stepClaim: b.Claims, stepWrite: b.Writes, stepTick: b.Ticks,
	} {
		most[v] = uint8(n)
	}
	return most
}

// line writes a step as a line of a scenario.
func (s step) line(w *World) string {
	a, b := int(s.a), int(s.b)
	name := func(i int) string { return Names[i] }
	switch s.verb {
	case stepTick:
		return "tick " + w.cfg.Tick.String()
	case stepDeliver, stepLose, stepRepeat:
		w.number()
		return fmt.Sprintf("%s %d", [...]string{"deliver", "lose", "repeat"}[s.verb-stepDeliver], w.msgs[a].num)
	case stepSettle:
		return fmt.Sprintf("settle %s %d", name(a), w.procs[a].rounds[b].Epoch)
	case stepView, stepBeat, stepHold, stepRelease, stepRepair:
		verb := map[verb]string{stepView: "view", stepBeat: "beat", stepHold: "hold", stepRelease: "release", stepRepair: "repair"}[s.verb]
		return fmt.Sprintf("%s %s %s", verb, name(a), name(b))
	case stepStart:
		return fmt.Sprintf("start %s at %s", name(a), name(b))
	case stepHalve:
		var names []string
		for _, i := range w.members() {
			if a&(1<<i) != 0 {
				names = append(names, name(i))
			}
		}
		return "cut " + strings.Join(names, " ")
	case stepHeal:
		return "heal"
	case stepFetch, stepHandOver, stepWrite:
		verb := map[verb]string{stepFetch: "fetch", stepHandOver: "handover", stepWrite: "write"}[s.verb]
		return strings.TrimSuffix(fmt.Sprintf("%s %s %d", verb, name(a), b), " 0")
	default:
		verb := map[verb]string{
			stepClaim: "claim", stepCount: "count", stepReady: "ready", stepNotice: "notice", stepFreeze: "freeze", stepResume: "resume",
			stepCrash: "crash", stepDrain: "drain", stepLeave: "leave", stepCut: "cut",
		}[s.verb]
		return verb + " " + name(a)
	}
}

// take makes a step, which must be among those that steps has listed.
func (s step) take(w *World) {
	a, b := int(s.a), int(s.b)
	switch s.verb {
	case stepTick:
		w.Tick()
	case stepDeliver:
		m := w.msgs[a]
		w.take(m)
		w.arrive(m)
	case stepLose:
		w.take(w.msgs[a])
	case stepRepeat:
		w.arrive(w.msgs[a])
	case stepClaim:
		_ = w.Claim(a)
	case stepSettle:
		w.settle(w.edit(a), w.procs[a].rounds[b])
	case stepCount:
		_ = w.Count(a)
	case stepView:
		_ = w.Learn(a, b)
	case stepBeat:
		w.Beat(a, b)
	case stepReady:
		_ = w.Become(a, member.StateReady)
	case stepDrain:
		_ = w.Become(a, member.StateLeaving)
	case stepLeave:
		_ = w.End(a, true)
	case stepNotice:
		_ = w.Notice(a)
	case stepFreeze:
		_ = w.Freeze(a)
	case stepResume:
		_ = w.Resume(a)
	case stepCrash:
		_ = w.End(a, false)
	case stepStart:
		_ = w.Start(a, b)
	case stepFetch:
		_ = w.Fetch(a, b)
	case stepHandOver:
		_ = w.HandOver(a, b)
	case stepRepair:
		_ = w.Repair(a, b, 0)
	case stepWrite:
		_ = w.Write(a, b, true)
	case stepCut:
		w.cut(1 << a)
	case stepHalve:
		w.cut(s.a)
	case stepHold:
		w.Stall(a, b)
	case stepRelease:
		w.Release(a, b)
	case stepHeal:
		w.Heal()
	}
}

// steps lists all that may happen next.
func (w *World) steps(into []step) []step {
	into = w.messageSteps(into)
	for _, i := range w.members() {
		if w.procs[i].up {
			into = w.procSteps(into, i)
			continue
		}
		for _, j := range w.members() {
			if w.procs[j].running() && w.linked(i, j) && w.procs[j].state == member.StateReady {
				into = append(into, step{stepStart, uint8(i), uint8(j)})
			}
		}
	}
	if w.mayTick() {
		into = append(into, step{verb: stepTick})
	}
	return w.linkSteps(into)
}

func (w *World) messageSteps(into []step) []step {
	for k, m := range w.msgs {
		if w.mayArrive(m) {
			into = append(into, step{stepDeliver, uint8(k), 0})
			if m.kind >= claim {
				into = append(into, step{stepRepeat, uint8(k), 0})
			}
		}
		if m.kind >= claim {
			into = append(into, step{stepLose, uint8(k), 0})
		}
	}
	return into
}

func (w *World) procSteps(into []step, i int) []step {
	p, a := w.procs[i], uint8(i)
	into = append(into, step{stepCrash, a, 0})
	if p.frozen {
		return append(into, step{stepResume, a, 0})
	}
	if p.gap {
		into = append(into, step{stepNotice, a, 0})
	} else {
		into = append(into, step{stepFreeze, a, 0})
	}
	if w.mayReady(p) {
		into = append(into, step{stepReady, a, 0})
	}
	if p.state == member.StateReady {
		into = append(into, step{stepDrain, a, 0})
	}
	if w.mayLeave(p) {
		into = append(into, step{stepLeave, a, 0})
	}
	for k, r := range p.rounds {
		if w.maySettle(p, r) {
			into = append(into, step{stepSettle, a, uint8(k)})
		}
	}
	if w.mayCount(p) {
		into = append(into, step{stepCount, a, 0})
	}
	if p.wants && p.core.IsMissing() {
		into = append(into, step{stepClaim, a, 0})
	}
	for _, j := range w.members() {
		if _, ok := w.news(i, j); ok {
			into = append(into, step{stepView, a, uint8(j)})
		}
		if p.due&(1<<j) != 0 {
			into = append(into, step{stepBeat, a, uint8(j)})
		}
	}
	return w.clientSteps(into, i)
}

// mayLeave says whether a process that drains has given all away.
func (w *World) mayLeave(p *proc) bool {
	return p.state == member.StateLeaving && p.open == 0 && p.store == [maxPartitions]uint16{} && p.core.MayLeave()
}

func (w *World) clientSteps(into []step, i int) []step {
	a := uint8(i)
	for part := range w.cfg.Partitions {
		if here, leased := w.serves(i, part); here && leased {
			into = append(into, step{stepWrite, a, uint8(part)})
		}
		if w.mayFetch(i, part) {
			into = append(into, step{stepFetch, a, uint8(part)})
		}
		if w.mayHandOver(i, part) {
			into = append(into, step{stepHandOver, a, uint8(part)})
		}
		for _, h := range w.members() {
			if part == 0 && w.mayRepair(i, h, part) {
				into = append(into, step{stepRepair, a, uint8(h)})
			}
		}
	}
	return into
}

func (w *World) linkSteps(into []step) []step {
	quiet := w.stalled == [maxMembers]uint8{}
	if !quiet {
		into = append(into, step{verb: stepHeal})
	}
	for _, i := range w.members() {
		if w.procs[i].up {
			into = append(into, step{stepCut, uint8(i), 0})
		}
		for j := range i {
			if w.cfg.Members > 3 && w.procs[i].up && w.procs[j].up {
				into = append(into, step{stepHalve, 1<<i | 1<<j, 0})
			}
		}
		for _, j := range w.members() {
			if i != j && w.procs[i].up && w.procs[j].up && w.stalled[i]&(1<<j) == 0 {
				into = append(into, step{stepHold, uint8(i), uint8(j)})
			}
		}
	}
	return into
}

// cut separates the members of a side from all others.
func (w *World) cut(side uint8) {
	for _, i := range w.members() {
		for _, j := range w.members() {
			if side&(1<<i) != 0 && side&(1<<j) == 0 {
				w.Stall(i, j)
				w.Stall(j, i)
			}
		}
	}
}

// Heal lets all messages pass again.
func (w *World) Heal() {
	for _, i := range w.members() {
		for _, j := range w.members() {
			if w.stalled[i]&(1<<j) != 0 {
				w.Release(i, j)
			}
		}
	}
}

// sideOf reads names of members as a set.
func (w *World) sideOf(names []string) (side uint8, err error) {
	for _, name := range names {
		i, err := w.named(name)
		if err != nil {
			return 0, err
		}
		side |= 1 << i
	}
	return side, nil
}

// without says whether a word is not among others.
func without(all []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == word })
}
