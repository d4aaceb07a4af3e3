package explore

import (
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// Violation is a promise that does not hold.
type Violation struct {
	// Promise is its name.
	Promise string
	What    string
}

func (v Violation) String() string { return v.Promise + ": " + v.What }

// The promises that a World is held to. The last two are about what follows
// once faults stop: see Recover.
const (
	// OneOwner: no two members serve a partition with a lease; in mode
	// available only two sides of a cut may, and who sees nobody.
	OneOwner = "one-owner"
	// PastSilent is OneOwner where one of the two has claimed although a voter
	// had not answered that gossip held for dead and that had not ended.
	PastSilent = "one-owner-past-the-silent"
	// PastEnded is the same with a voter that had ended.
	PastEnded = "one-owner-past-the-ended"
	// ByMinority is OneOwner in mode majority where one of the two has claimed
	// with the consent of less than a majority.
	ByMinority = "one-owner-claimed-by-a-minority"
	// ByEarly is OneOwner where one of the two has its lease by the answer to a
	// heartbeat that it sent before it opened the partition.
	ByEarly = "one-owner-by-an-early-heartbeat"
	// Shut: the driver lets in what the Gate says, no more and no less.
	Shut = "shut"
	// Reads: who serves under a lease, and does not say that it is unverified,
	// has all that was confirmed, or fetches it.
	Reads = "reads"
	// Uncopied is Reads where all that is missing was confirmed with no copy.
	Uncopied = "reads-uncopied"
	// Late is Reads where all that is missing was confirmed by a member that
	// served under no lease any more.
	Late = "reads-confirmed-late"
	// ServedAgain: one member serves each partition again.
	ServedAgain = "served-again"
	// Confirmed: the owner then has all that was confirmed.
	Confirmed = "confirmed"
)

// Promises are all of them.
var Promises = []string{OneOwner, PastSilent, PastEnded, ByMinority, ByEarly, Shut, Reads, Uncopied, Late, ServedAgain, Confirmed}

// Check returns what does not hold at this moment.
func (w *World) Check() (found []Violation) {
	for part := range w.cfg.Partitions {
		found = append(found, w.checkPart(part)...)
	}
	return found
}

func (w *World) checkPart(part int) (found []Violation) {
	first := -1
	for _, i := range w.members() {
		p := w.procs[i]
		if !p.running() {
			continue
		}
		here, leased := w.serves(i, part)
		if is := p.open&(1<<part) != 0; is != (p.core.Gate().Phase(part) >= ownership.Fetching) {
			found = append(found, Violation{Shut, fmt.Sprintf("partition %d of %s is open: %v, and the gate says otherwise", part, Names[i], is)})
		}
		if !here || !leased {
			continue
		}
		if first >= 0 && !w.excused(first, i) {
			found = append(found, Violation{w.twoOwners(w.procs[first], p, part), fmt.Sprintf("partition %d is served by %s and by %s", part, Names[first], Names[i])})
		}
		first = i
		if v, bad := w.checkReads(i, part); bad {
			found = append(found, v)
		}
	}
	return found
}

// twoOwners tells the ways apart in which there come to be two.
func (w *World) twoOwners(p, q *proc, part int) string {
	lacked := p.lacked[part] | q.lacked[part]
	switch {
	case w.cfg.Mode == ownership.Majority && lacked&ofMajority != 0:
		return ByMinority
	case lacked&ofSilent != 0:
		return PastSilent
	case lacked&ofEnded != 0:
		return PastEnded
	case p.early || q.early:
		return ByEarly
	default:
		return OneOwner
	}
}

// excused says whether two members may both serve: they are on two sides of a
// cut, or one of them sees nobody, and so not the other, as after it stood still
// alone.
func (w *World) excused(i, j int) bool {
	if w.cfg.Mode != ownership.Available {
		return false
	}
	island := func(i, j int) bool {
		v := w.procs[i].core.View()
		return len(v.Nodes()) <= 1 && w.procs[i].sees[j].boot != w.procs[j].boot
	}
	return w.parted[i]&(1<<j) != 0 || w.parted[j]&(1<<i) != 0 || island(i, j) || island(j, i)
}

func (w *World) checkReads(i, part int) (Violation, bool) {
	set, ok := w.readable(i, part)
	missing := w.must[part] &^ set
	if w.cfg.Mode == ownership.Available {
		missing &^= w.aside[part] // the other side merges it when the cut has healed
	}
	if missing == 0 || !ok || w.procs[i].core.Gate().Decide(part, w.now).Unverified {
		return Violation{}, false
	}
	for _, j := range w.members() {
		if j != i && w.excused(i, j) {
			return Violation{}, false
		}
	}
	promise := Reads
	switch {
	case missing&^w.uncopied[part] == 0:
		promise = Uncopied
	case missing&^(w.uncopied[part]|w.late[part]) == 0:
		promise = Late
	}
	return Violation{promise, fmt.Sprintf("%s serves partition %d without writes %s, which are confirmed", Names[i], part, setOf(missing))}, true
}
