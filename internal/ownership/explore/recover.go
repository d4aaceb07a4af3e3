package explore

import (
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// recoverTime is within which a World must be whole again once faults stop:
// some leases, promises and claims that time out, one after the other.
const recoverTime = 12 * ownership.LeaseTime

// Recover lets faults stop: links are mended, messages are delivered, gossip
// tells everybody the truth, and time passes. With thaw, processes that stand
// still go on. It returns what does not hold when recoverTime is over.
func (w *World) Recover(thaw bool) []Violation {
	w.mend(thaw)
	must := w.mustServe()
	var found []Violation
	for passed := recoverTime * 0; passed < recoverTime; passed += w.cfg.Tick {
		w.Settledown()
		if found = w.whole(must); len(found) == 0 {
			return nil
		}
		w.Tick()
	}
	return found
}

// mend ends what keeps members apart.
func (w *World) mend(thaw bool) {
	for i := range w.stalled {
		w.stalled[i] = 0
	}
	for _, i := range w.members() {
		if thaw && w.procs[i].frozen {
			_ = w.Resume(i)
		}
		if w.procs[i].gap {
			_ = w.Notice(i)
		}
	}
}

// Settledown lets all happen that can at this moment, save that time passes.
func (w *World) Settledown() {
	for range 100 {
		if !w.settleStep() {
			return
		}
	}
}

// settleStep does everything once that can be done now, and says whether there
// was anything.
func (w *World) settleStep() (any bool) {
	for _, i := range w.members() {
		for _, x := range w.members() {
			any = w.Learn(i, x) == nil || any
		}
	}
	any = w.deliverAll() || any
	for _, i := range w.members() {
		if !w.procs[i].running() {
			continue
		}
		w.beatDue(w.procs[i])
		if w.mayReady(w.procs[i]) {
			any = w.Become(i, member.StateReady) == nil || any
		}
		if p := w.procs[i]; p.wants && p.core.Gate().Phase(0) != ownership.Claiming {
			before := len(p.rounds)
			any = w.Claim(i) == nil && len(w.procs[i].rounds) > before || any
		}
		for _, r := range w.procs[i].rounds {
			if w.maySettle(w.procs[i], r) {
				any = w.Settle(i, r.Epoch) == nil || any
				break
			}
		}
		any = w.Count(i) == nil || any
		any = w.copySteps(i) || any
	}
	return any
}

func (w *World) copySteps(i int) (any bool) {
	for part := range w.cfg.Partitions {
		any = w.Fetch(i, part) == nil || any
		any = w.HandOver(i, part) == nil || any
		for _, h := range w.members() {
			any = w.Repair(i, h, part) == nil || any
		}
	}
	return any
}

// deliverAll delivers what can arrive, and says whether there was anything.
func (w *World) deliverAll() (any bool) {
	for i := 0; i < len(w.msgs); {
		m := w.msgs[i]
		if !w.mayArrive(m) {
			i++
			continue
		}
		w.take(m)
		w.arrive(m)
		any, i = true, 0
	}
	return any
}

// whole returns what is missing for each partition to be served by one member
// that has all that was confirmed, if one must serve.
func (w *World) whole(must bool) (found []Violation) {
	running, frozen := false, false
	for _, i := range w.members() {
		p := w.procs[i]
		frozen = frozen || p.frozen
		running = running || p.running() && p.state == member.StateReady
	}
	if !running || !must {
		return nil
	}
	for part := range w.cfg.Partitions {
		found = append(found, w.wholePart(part, frozen)...)
	}
	return found
}

// anewTime is within how long of their end those who count must be back for
// the others to go on without them: ownership's touchTime, and what it takes to
// see that.
const anewTime = 5 * time.Second

// mustServe says whether there must be an owner when faults have stopped. In
// mode majority that is if most of those who count run; or if all others were
// started anew soon, in the middle of no proposal.
func (w *World) mustServe() bool {
	if w.cfg.Mode == ownership.Available {
		return true
	}
	var newest ownership.Roster
	for _, p := range w.procs {
		if !p.running() {
			continue
		}
		if r := p.core.Rosters().Now; r.Version > newest.Version {
			newest = r
		}
	}
	all, running, anew, undecided := 0, 0, 0, false
	for _, id := range newest.Electors {
		p := w.procs[whoIs(id).name]
		if p.up && p.id() == id && p.state == member.StateLeaving {
			continue // its vote is the last that it does
		}
		all++
		switch {
		case p.running() && p.id() == id:
			running++
			undecided = undecided || p.core.Undecided()
		case p.running() && w.now-p.ended <= anewTime:
			anew++
		}
	}
	return 2*running > all || running > 0 && running+anew == all && !undecided
}

func (w *World) wholePart(part int, frozen bool) (found []Violation) {
	owners := 0
	for _, i := range w.members() {
		here, leased := w.serves(i, part)
		if !here {
			continue
		}
		if owners++; leased {
			set, ok := w.readable(i, part)
			if missing := w.must[part] &^ set; missing != 0 && ok && !frozen {
				found = append(found, Violation{Confirmed, fmt.Sprintf("%s serves partition %d without writes %s", Names[i], part, setOf(missing))})
			}
		} else {
			found = append(found, Violation{ServedAgain, fmt.Sprintf("%s has partition %d and no lease", Names[i], part)})
		}
	}
	if owners != 1 {
		found = append(found, Violation{ServedAgain, fmt.Sprintf("%d members serve partition %d", owners, part)})
	}
	return found
}
