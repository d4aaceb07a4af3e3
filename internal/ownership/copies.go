package ownership

import (
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// copyOf says of a voter when it handed the copy over that it had, and how it
// agreed.
type copyOf struct {
	holder member.ID
	leftAt time.Duration
	status Status
}

// indexIn returns where in a list what a member had is, -1 for one that is not in
// it.
func indexIn(copies []copyOf) func(member.ID) int {
	return func(id member.ID) int {
		return slices.IndexFunc(copies, func(c copyOf) bool { return c.holder == id })
	}
}

// absentHolders returns the members that had the copies of partition p, if none
// of them has answered a claim of it, else nil; and whether one of them may be
// alive: what they hold is not known then. Members whose processes have ended
// have nothing left to ask for. answered has the members that have answered,
// the claimant among them, and owner is who served the partition until now.
//
// The copies are where the newest proven ring puts them that gave the partition
// to owner, or, if none did, the newest proven one: a ring that the partition
// was never claimed by has moved no copies. A holder that has handed its copy
// over since has given it to the holders by the ring of that moment. Where owner
// is silent and no proven ring gave it the partition, it has claimed it by one
// that has not stood: what it has acknowledged since is with the holders by that
// one, and one of them has to answer too. Where none of all these has answered,
// any holder by a ring since then may have been given a copy; where those that
// have are all Behind, any other node.
//
// A member that has just started has seen no proven ring. For it the copies may
// be with the owner, with those beside it by a ring that has not stood, and with
// any node that may be alive and takes no part. some says that one who has
// answered holds something, which counts as a copy then.
//
// The owner knows best, if it has answered: that it had all there is, or that it
// could not tell. In the second case its successor can tell only once nobody is
// out of reach.
func (c *Core) absentHolders(p int, owner member.ID, answered []copyOf, some bool) (absent []member.ID, alive bool) {
	at := indexIn(answered)
	switch i := at(owner); {
	case i >= 0 && answered[i].status == Whole:
		return nil, false
	case i >= 0 && answered[i].status == Partial && len(c.outOfReach(at)) > 0:
		return nil, true
	}
	s := copySearch{core: c, partition: p, owner: owner, answered: answered, at: at, rings: append(slices.Clone(c.history.past), c.history.now)}
	base := s.base()
	if base < 0 {
		s.noteAll()
		if some {
			s.absent = nil
		}
		return s.absent, s.alive
	}
	found := s.reached(base)
	switch {
	case found:
		s.absent, s.alive = nil, false
	case s.behind:
		s.absent, s.alive = nil, s.mayStandIn()
	default:
		for i := range s.rings[base+1:] {
			s.noteHolders(&s.rings[base+1+i]) // they may have been given a copy before the ring changed again
		}
	}
	if owner != (member.ID{}) && at(owner) < 0 && s.rings[base].owner(p) != owner {
		s.noteLate()
	}
	if found || s.behind {
		s.absent = nil
	}
	return s.absent, s.alive || c.mode == Majority && s.confirmedElsewhere(base)
}

// copySearch finds out where the copies of one partition are, of which some
// members have told what they had.
type copySearch struct {
	core      *Core
	partition int
	owner     member.ID
	answered  []copyOf
	at        func(id member.ID) int // in answered, -1 for not
	rings     []pastRing             // the newest last
	looked    []bool                 // of rings

	absent []member.ID // who may have a copy, and has not answered
	alive  bool        // one of them may be alive
	behind bool        // a holder has answered that may lack something
}

// base returns the newest proven ring that gave the partition to its owner, or
// the newest proven one, or -1.
func (s *copySearch) base() int {
	base := -1
	for i := range s.rings {
		if r := &s.rings[i]; r.proven && (base < 0 || r.owner(s.partition) == s.owner || s.rings[base].owner(s.partition) != s.owner) {
			base = i
		}
	}
	return base
}

func (s *copySearch) note(id member.ID) {
	s.alive = s.alive || !s.core.hasEnded(id)
	if !slices.Contains(s.absent, id) {
		s.absent = append(s.absent, id)
	}
}

// noteAll notes the owner, if it is silent, with those who held the partition
// beside it by the newest ring that gave it to the owner, and every node that is
// out of reach.
func (s *copySearch) noteAll() {
	if s.owner != (member.ID{}) && s.at(s.owner) < 0 {
		s.note(s.owner)
		if r := s.newest(); r != nil {
			s.noteHolders(r)
		}
	}
	for _, id := range s.core.outOfReach(s.at) {
		s.note(id)
		s.alive = true
	}
}

// noteHolders notes those of a ring's holders that are silent.
func (s *copySearch) noteHolders(r *pastRing) {
	for _, id := range r.holders(s.partition) {
		if s.at(id) < 0 {
			s.note(id)
		}
	}
}

// reached says whether a holder has answered that has all that the copies by
// ring i had, and notes those that are silent.
func (s *copySearch) reached(i int) bool {
	if s.looked == nil {
		s.looked = make([]bool, len(s.rings))
	}
	if s.looked[i] {
		return false
	}
	s.looked[i] = true
	for _, id := range s.rings[i].holders(s.partition) {
		j := s.at(id)
		switch {
		case j < 0:
			s.note(id)
		case s.answered[j].status == Behind:
			s.behind = true
		default:
			if left := s.answered[j].leftAt; left < s.rings[i].since || s.reached(ringAt(s.rings, left)) {
				return true
			}
		}
	}
	return false
}

// mayStandIn says whether there may be a node alive that has not answered and had
// copies in the place of one that is Behind.
func (s *copySearch) mayStandIn() bool {
	return slices.ContainsFunc(s.core.outOfReach(s.at), func(id member.ID) bool { return id != s.owner })
}

// newest returns the newest ring that gave the partition to its owner, nil if
// none that was seen has.
func (s *copySearch) newest() *pastRing {
	for i := len(s.rings) - 1; i >= 0; i-- {
		if s.rings[i].owner(s.partition) == s.owner {
			return &s.rings[i]
		}
	}
	return nil
}

// noteLate notes those who hold the partition by the newest ring that gave it to
// its owner, or the owner alone, if none that was seen has, unless one of them
// has answered.
func (s *copySearch) noteLate() {
	late := []member.ID{s.owner}
	if r := s.newest(); r != nil {
		late = r.holders(s.partition)
	}
	behind := false
	for _, id := range late {
		if j := s.at(id); j >= 0 {
			if s.answered[j].status != Behind {
				return
			}
			behind = true
		}
	}
	s.alive = s.alive || behind && s.mayStandIn()
	for _, id := range late {
		if s.at(id) < 0 {
			s.note(id)
		}
	}
}

// confirmedElsewhere says whether an owner that is silent may have had a write
// confirmed by a copy that is silent as well, and one of the two may be alive: a
// write is confirmed by one copy, be there more of them. In mode Available the
// other side of a cut may acknowledge whatever it likes anyway. It looks at the
// rings from base on.
func (s *copySearch) confirmedElsewhere(base int) bool {
	if s.owner == (member.ID{}) || s.at(s.owner) >= 0 {
		return false
	}
	ended := s.core.hasEnded
	for i := base; i < len(s.rings); i++ {
		if s.rings[i].owner(s.partition) != s.owner {
			continue
		}
		for _, id := range s.rings[i].holders(s.partition) {
			if id != s.owner && s.at(id) < 0 && !(ended(s.owner) && ended(id)) {
				return true
			}
		}
	}
	return false
}
