package ownership

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// Roster is who counts in mode Majority: a claim, a lease, and the next Roster
// need the word of a majority of its electors. A cluster has one Roster after
// the other, each with the next version, and each decided by the electors of
// the one before: see quorum. The zero Roster is none.
//
// Electors are boots. A process that starts anew has forgotten what the one
// before has agreed to, so it does not count in its place until a Roster
// says so.
type Roster struct {
	Version  uint64
	Electors []member.ID // sorted
}

// maxElectors is how many electors an encoded Roster names.
const maxElectors = 255

// Has says whether a boot is an elector.
func (r Roster) Has(id member.ID) bool { return slices.Contains(r.Electors, id) }

// named returns the elector of a name.
func (r Roster) named(name string) (id member.ID, ok bool) {
	at := slices.IndexFunc(r.Electors, func(id member.ID) bool { return id.Name == name })
	if at < 0 {
		return member.ID{}, false
	}
	return r.Electors[at], true
}

// majority is how many electors are more than half of them.
func (r Roster) majority() int { return len(r.Electors)/2 + 1 }

// same says whether two Rosters have the same electors.
func (r Roster) same(s Roster) bool { return slices.Equal(r.Electors, s.Electors) }

// after says whether r comes after s. Two of one version are of clusters that
// were founded apart; then the electors decide, so that all agree.
func (r Roster) after(s Roster) bool {
	if r.Version != s.Version {
		return r.Version > s.Version
	}
	return slices.CompareFunc(r.Electors, s.Electors, member.ID.Compare) > 0
}

// Append writes a Roster behind b:
//
//	u64 version | u8 number of electors | u8 length, elector …
func (r Roster) Append(b []byte) []byte {
	return appendIDs(order.AppendUint64(b, r.Version), r.Electors)
}

// readRoster reads what Append has written, and returns what is behind it.
func readRoster(b []byte) (r Roster, rest []byte, err error) {
	if len(b) < 8 {
		return r, nil, fmt.Errorf("roster of %d bytes: %w", len(b), ErrMalformed)
	}
	r.Version = order.Uint64(b)
	if r.Electors, rest, err = decodeIDs(b[8:]); err != nil {
		return r, nil, err
	}
	switch {
	case (r.Version == 0) != (len(r.Electors) == 0):
		return r, nil, fmt.Errorf("roster %d of %d electors: %w", r.Version, len(r.Electors), ErrMalformed)
	case !slices.IsSortedFunc(r.Electors, member.ID.Compare) || len(slices.Compact(slices.Clone(r.Electors))) != len(r.Electors):
		return r, nil, fmt.Errorf("roster %d, whose electors are not sorted: %w", r.Version, ErrMalformed)
	}
	return r, rest, nil
}

// Ballot orders proposals of one Roster. The zero Ballot is none.
type Ballot struct {
	Round uint64
	By    member.ID
}

// Newer says whether b goes before c.
func (b Ballot) Newer(c Ballot) bool {
	if b.Round != c.Round {
		return b.Round > c.Round
	}
	return b.By.Compare(c.By) > 0
}

// append writes a Ballot: u64 round | u8 length, proposer.
func (b Ballot) append(to []byte) []byte {
	to = order.AppendUint64(to, b.Round)
	if b.Round == 0 {
		return append(to, 0)
	}
	s := b.By.String()
	return append(append(to, byte(len(s))), s...)
}

func readBallot(b []byte) (ballot Ballot, rest []byte, err error) {
	if len(b) < 9 || len(b) < 9+int(b[8]) {
		return ballot, nil, fmt.Errorf("ballot of %d bytes: %w", len(b), ErrMalformed)
	}
	ballot.Round = order.Uint64(b)
	end := 9 + int(b[8])
	if (ballot.Round == 0) != (end == 9) {
		return ballot, nil, fmt.Errorf("ballot %d with a proposer of %d bytes: %w", ballot.Round, end-9, ErrMalformed)
	}
	if end > 9 {
		if ballot.By, err = member.ParseID(string(b[9:end])); err != nil {
			return ballot, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	return ballot, b[end:], nil
}

// Step is how far a Proposal is.
type Step byte

const (
	// Prepare: the electors are asked to refuse older ballots, and to say what
	// they have accepted.
	Prepare Step = iota + 1
	// Accept: they are asked to accept a Roster.
	Accept
	// Found: those who have none are asked to accept the first.
	Found
)

// Proposal asks electors for the next Roster.
//
//	u8 step | u64 version of the proposer's roster | ballot | roster, of version 0 in Prepare
type Proposal struct {
	Step    Step
	Version uint64
	Ballot  Ballot
	Roster  Roster // in Accept and Found
	// Asked are to answer. It is not sent.
	Asked []member.ID
	began time.Duration
}

// Encode writes a Proposal.
func (p Proposal) Encode() []byte {
	return p.Roster.Append(p.Ballot.append(order.AppendUint64([]byte{byte(p.Step)}, p.Version)))
}

// DecodeProposal reads what Proposal.Encode has written.
func DecodeProposal(b []byte) (p Proposal, err error) {
	if len(b) < 9 {
		return p, fmt.Errorf("proposal of %d bytes: %w", len(b), ErrMalformed)
	}
	p.Step, p.Version = Step(b[0]), order.Uint64(b[1:])
	if p.Ballot, b, err = readBallot(b[9:]); err != nil {
		return p, err
	}
	if p.Roster, b, err = readRoster(b); err != nil {
		return p, err
	}
	switch {
	case len(b) > 0:
		return p, fmt.Errorf("proposal with %d bytes behind it: %w", len(b), ErrMalformed)
	case p.Step < Prepare || p.Step > Found, p.Ballot.Round == 0:
		return p, fmt.Errorf("proposal of step %d and ballot %d: %w", p.Step, p.Ballot.Round, ErrMalformed)
	case p.Version == math.MaxUint64, p.Roster.Version != p.Version+1 && (p.Step != Prepare || p.Roster.Version != 0):
		return p, fmt.Errorf("proposal of roster %d after %d: %w", p.Roster.Version, p.Version, ErrMalformed)
	}
	return p, nil
}

// Vote is an elector's answer to a Proposal.
//
//	u8 1 for yes | ballot promised | ballot accepted | roster accepted
type Vote struct {
	Yes bool
	// Promised is the newest ballot that the elector knows.
	Promised Ballot
	// By and Accepted are what it has accepted, if it has, of those that may
	// follow the proposer's Roster.
	By       Ballot
	Accepted Roster
}

// Encode writes a Vote.
func (v Vote) Encode() []byte {
	b := []byte{0}
	if v.Yes {
		b[0] = 1
	}
	return v.Accepted.Append(v.By.append(v.Promised.append(b)))
}

// DecodeVote reads what Vote.Encode has written.
func DecodeVote(b []byte) (v Vote, err error) {
	if len(b) == 0 || b[0] > 1 {
		return v, fmt.Errorf("vote of %d bytes: %w", len(b), ErrMalformed)
	}
	v.Yes = b[0] == 1
	if v.Promised, b, err = readBallot(b[1:]); err != nil {
		return v, err
	}
	if v.By, b, err = readBallot(b); err != nil {
		return v, err
	}
	if v.Accepted, b, err = readRoster(b); err != nil {
		return v, err
	}
	if len(b) > 0 || (v.By.Round == 0) != (v.Accepted.Version == 0) {
		return v, fmt.Errorf("vote by ballot %d for roster %d: %w", v.By.Round, v.Accepted.Version, ErrMalformed)
	}
	return v, nil
}

// Rosters are the Roster in force as far as a member knows, and the one before,
// as heartbeats tell them.
type Rosters struct{ Now, Before Roster }

// Encode writes both, the newer one first.
func (r Rosters) Encode() []byte { return r.Before.Append(r.Now.Append(nil)) }

// DecodeRosters reads what Rosters.Encode has written.
func DecodeRosters(b []byte) (r Rosters, err error) {
	if r.Now, b, err = readRoster(b); err != nil {
		return r, err
	}
	if r.Before, b, err = readRoster(b); err != nil {
		return r, err
	}
	if len(b) > 0 || r.Before.Version >= max(r.Now.Version, 1) {
		return r, fmt.Errorf("roster %d after %d: %w", r.Now.Version, r.Before.Version, ErrMalformed)
	}
	return r, nil
}
