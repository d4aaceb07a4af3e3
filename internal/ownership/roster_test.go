package ownership

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member"
)

var (
	anyElectors = rapid.Custom(func(t *rapid.T) []member.ID {
		few := rapid.SliceOfNDistinct(anyID, 1, 7, rapid.ID[member.ID])
		electors := rapid.OneOf(few, few, few, few, few, few, few, rapid.Just(electorsOf(maxElectors))).Draw(t, "electors")
		slices.SortFunc(electors, member.ID.Compare)
		return electors
	})
	anyRoster = rapid.Custom(func(t *rapid.T) Roster {
		return Roster{rapid.Uint64Range(2, math.MaxUint64).Draw(t, "version"), anyElectors.Draw(t, "roster")}
	})
	anyBallot = rapid.Custom(func(t *rapid.T) Ballot {
		return Ballot{rapid.Uint64Min(1).Draw(t, "round"), anyID.Draw(t, "by")}
	})
	// none is how no Roster is read.
	none = Roster{Electors: []member.ID{}}
)

// electorsOf are so many boots, in order.
func electorsOf(n int) (all []member.ID) {
	for i := range n {
		all = append(all, id(string(rune('a'+i/26))+string(rune('a'+i%26)), 1))
	}
	return all
}

// What is behind a Roster is the next thing to be read.
func TestRosterRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.OneOf(anyRoster, rapid.Just(none)).Draw(t, "roster")
		rest := rapid.SliceOf(rapid.Byte()).Draw(t, "rest")
		b := r.Append(nil)
		got, behind, err := readRoster(append(slices.Clone(b), rest...))
		require.NoError(t, err)
		require.Equal(t, r, got)
		require.True(t, bytes.Equal(rest, behind))
		_, _, err = readRoster(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.ErrorIs(t, err, ErrMalformed)
	})
}

func TestBallotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ballot := rapid.OneOf(anyBallot, rapid.Just(Ballot{})).Draw(t, "ballot")
		rest := rapid.SliceOf(rapid.Byte()).Draw(t, "rest")
		b := ballot.append(nil)
		got, behind, err := readBallot(append(slices.Clone(b), rest...))
		require.NoError(t, err)
		require.Equal(t, ballot, got)
		require.True(t, bytes.Equal(rest, behind))
		_, _, err = readBallot(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.ErrorIs(t, err, ErrMalformed)
	})
}

func TestProposalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Proposal{Step: rapid.SampledFrom([]Step{Prepare, Accept, Found}).Draw(t, "step"), Ballot: anyBallot.Draw(t, "ballot"), Roster: anyRoster.Draw(t, "roster")}
		p.Version = p.Roster.Version - 1
		if p.Step == Prepare {
			p.Roster = none
		}
		b := p.Encode()
		got, err := DecodeProposal(b)
		require.NoError(t, err)
		require.Equal(t, p, got)
		_, err = DecodeProposal(append(b, 0))
		require.ErrorIs(t, err, ErrMalformed)
		_, err = DecodeProposal(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.ErrorIs(t, err, ErrMalformed)
	})
}

func TestVoteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := Vote{Yes: rapid.Bool().Draw(t, "yes"), Promised: rapid.OneOf(anyBallot, rapid.Just(Ballot{})).Draw(t, "promised"), Accepted: none}
		if rapid.Bool().Draw(t, "has accepted") {
			v.By, v.Accepted = anyBallot.Draw(t, "accepted by"), anyRoster.Draw(t, "accepted")
		}
		b := v.Encode()
		got, err := DecodeVote(b)
		require.NoError(t, err)
		require.Equal(t, v, got)
		_, err = DecodeVote(append(b, 0))
		require.ErrorIs(t, err, ErrMalformed)
		_, err = DecodeVote(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.ErrorIs(t, err, ErrMalformed)
	})
}

func TestRostersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rosters{rapid.OneOf(anyRoster, rapid.Just(none)).Draw(t, "now"), none}
		if r.Now.Version > 1 && rapid.Bool().Draw(t, "has one before") {
			r.Before = Roster{rapid.Uint64Range(1, r.Now.Version-1).Draw(t, "version before"), anyElectors.Draw(t, "before")}
		}
		b := r.Encode()
		got, err := DecodeRosters(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		_, err = DecodeRosters(append(b, 0))
		require.ErrorIs(t, err, ErrMalformed)
		_, err = DecodeRosters(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.ErrorIs(t, err, ErrMalformed)
	})
}

// rosterOf is a Roster of the first boots of members.
func rosterOf(version uint64, names string) Roster {
	r := Roster{Version: version}
	for _, name := range letters(names) {
		r.Electors = append(r.Electors, id(name, 1))
	}
	return r
}

func TestProposalRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	whole := Proposal{Step: Accept, Version: 3, Ballot: Ballot{7, id("a", 1)}, Roster: rosterOf(4, "ab")}
	_, err := DecodeProposal(whole.Encode())
	require.NoError(t, err)
	_, err = DecodeProposal(Proposal{Step: Prepare, Version: 3, Ballot: whole.Ballot}.Encode())
	require.NoError(t, err)
	name := len(id("a", 1).String())
	for what, change := range map[string]func(p *Proposal) []byte{
		"no bytes":                       func(*Proposal) []byte { return nil },
		"half a version":                 func(p *Proposal) []byte { return p.Encode()[:5] },
		"half a ballot":                  func(p *Proposal) []byte { return p.Encode()[:9+9+3] },
		"half a roster":                  func(p *Proposal) []byte { return p.Encode()[:9+9+name+4] },
		"something behind it":            func(p *Proposal) []byte { return append(p.Encode(), 0) },
		"no step":                        func(p *Proposal) []byte { p.Step = 0; return p.Encode() },
		"a step that is none":            func(p *Proposal) []byte { p.Step = Found + 1; return p.Encode() },
		"no ballot":                      func(p *Proposal) []byte { p.Ballot = Ballot{}; return p.Encode() },
		"a ballot of nobody's":           func(p *Proposal) []byte { b := p.Encode(); b[9+9] = '~'; return b },
		"a proposer and no round":        func(p *Proposal) []byte { b := p.Encode(); b[9+7] = 0; return b },
		"a round and no proposer":        func(p *Proposal) []byte { b := p.Encode(); b[9+8] = 0; return b },
		"a roster that comes later":      func(p *Proposal) []byte { p.Version = 2; return p.Encode() },
		"the roster that there is":       func(p *Proposal) []byte { p.Version = 4; return p.Encode() },
		"no roster to accept":            func(p *Proposal) []byte { p.Roster = Roster{}; return p.Encode() },
		"no roster to found":             func(p *Proposal) []byte { p.Step, p.Version, p.Roster = Found, 0, Roster{}; return p.Encode() },
		"prepares for one that is later": func(p *Proposal) []byte { p.Step, p.Version = Prepare, 2; return p.Encode() },
		"a roster of nobody":             func(p *Proposal) []byte { p.Roster.Electors = nil; return p.Encode() },
		"electors and no version":        func(p *Proposal) []byte { p.Step, p.Roster.Version = Prepare, 0; return p.Encode() },
		"electors in the wrong order":    func(p *Proposal) []byte { slices.Reverse(p.Roster.Electors); return p.Encode() },
		"an elector twice":               func(p *Proposal) []byte { p.Roster.Electors[1] = p.Roster.Electors[0]; return p.Encode() },
		"an elector without a boot":      func(p *Proposal) []byte { p.Roster.Electors[1].Boot = ""; return p.Encode() },
	} {
		p := whole
		p.Roster.Electors = slices.Clone(whole.Roster.Electors)
		_, err := DecodeProposal(change(&p))
		require.ErrorIs(t, err, ErrMalformed, what)
	}
}

func TestVoteRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	whole := Vote{Yes: true, Promised: Ballot{7, id("b", 1)}, By: Ballot{6, id("a", 1)}, Accepted: rosterOf(4, "ab")}
	_, err := DecodeVote(whole.Encode())
	require.NoError(t, err)
	ballot := len(whole.By.append(nil))
	for what, change := range map[string]func(v *Vote) []byte{
		"no bytes":                     func(*Vote) []byte { return nil },
		"neither yes nor no":           func(v *Vote) []byte { b := v.Encode(); b[0] = 2; return b },
		"half a promise":               func(v *Vote) []byte { return v.Encode()[:1+ballot-1] },
		"half a ballot":                func(v *Vote) []byte { return v.Encode()[:1+2*ballot-1] },
		"half a roster":                func(v *Vote) []byte { return v.Encode()[:1+2*ballot+7] },
		"something behind it":          func(v *Vote) []byte { return append(v.Encode(), 0) },
		"a promise to nobody":          func(v *Vote) []byte { b := v.Encode(); b[1+9] = '~'; return b },
		"accepted nothing by a ballot": func(v *Vote) []byte { v.Accepted = Roster{}; return v.Encode() },
		"accepted by no ballot":        func(v *Vote) []byte { v.By = Ballot{}; return v.Encode() },
		"a roster of nobody":           func(v *Vote) []byte { v.Accepted.Electors = nil; return v.Encode() },
	} {
		v := whole
		_, err := DecodeVote(change(&v))
		require.ErrorIs(t, err, ErrMalformed, what)
	}
}

func TestRostersRefuseWhatIsNone(t *testing.T) {
	t.Parallel()
	whole := Rosters{rosterOf(4, "abc"), rosterOf(3, "ab")}
	_, err := DecodeRosters(whole.Encode())
	require.NoError(t, err)
	for what, change := range map[string]func(r *Rosters) []byte{
		"no bytes":                 func(*Rosters) []byte { return nil },
		"one of the two":           func(r *Rosters) []byte { return r.Now.Append(nil) },
		"something behind them":    func(r *Rosters) []byte { return append(r.Encode(), 0) },
		"the older one first":      func(r *Rosters) []byte { return Rosters{r.Before, r.Now}.Encode() },
		"two of one version":       func(r *Rosters) []byte { return Rosters{r.Now, r.Now}.Encode() },
		"one before and none now":  func(r *Rosters) []byte { return Rosters{Before: r.Before}.Encode() },
		"electors and no version":  func(r *Rosters) []byte { r.Before.Version = 0; return r.Encode() },
		"a version and no elector": func(r *Rosters) []byte { r.Before.Electors = nil; return r.Encode() },
	} {
		r := Rosters{rosterOf(4, "abc"), rosterOf(3, "ab")}
		_, err := DecodeRosters(change(&r))
		require.ErrorIs(t, err, ErrMalformed, what)
	}
}

// Of two Rosters one comes after the other, unless they are the same; and so do
// ballots.
func TestRostersAndBallotsHaveAnOrder(t *testing.T) {
	t.Parallel()
	rosters := []Roster{{}, rosterOf(1, "ab"), rosterOf(1, "abc"), rosterOf(1, "b"), rosterOf(2, "a"), rosterOf(2, "b")}
	ballots := []Ballot{{}, {1, id("a", 1)}, {1, id("a", 2)}, {1, id("b", 1)}, {2, id("a", 1)}, {3, id("a", 0)}}
	for i := range rosters {
		for j := range rosters {
			require.Equal(t, i > j, rosters[i].after(rosters[j]), "%v after %v", rosters[i], rosters[j])
			require.Equal(t, i > j, ballots[i].Newer(ballots[j]), "%v after %v", ballots[i], ballots[j])
		}
	}
	for n, most := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 255: 128} {
		require.Equal(t, most, Roster{1, electorsOf(n)}.majority(), "of %d", n)
	}
}

func FuzzDecodeProposal(f *testing.F) {
	f.Add(Proposal{Step: Prepare, Version: 3, Ballot: Ballot{7, id("a", 1)}}.Encode())
	f.Add(Proposal{Step: Accept, Version: 3, Ballot: Ballot{7, id("a", 1)}, Roster: rosterOf(4, "abc")}.Encode())
	f.Add(Proposal{Step: Found, Ballot: Ballot{1, id("a", 1)}, Roster: Roster{1, electorsOf(maxElectors)}}.Encode())
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodeProposal(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b, p.Encode())
	})
}

func FuzzDecodeVote(f *testing.F) {
	f.Add(Vote{}.Encode())
	f.Add(Vote{Yes: true, Promised: Ballot{7, id("a", 1)}}.Encode())
	f.Add(Vote{Yes: true, Promised: Ballot{7, id("a", 1)}, By: Ballot{6, id("b", 1)}, Accepted: rosterOf(4, "abc")}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := DecodeVote(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b, v.Encode())
	})
}

func FuzzDecodeRosters(f *testing.F) {
	f.Add(Rosters{}.Encode())
	f.Add(Rosters{Now: rosterOf(1, "a")}.Encode())
	f.Add(Rosters{rosterOf(4, "abc"), rosterOf(3, "ab")}.Encode())
	f.Add(append(Roster{2, electorsOf(maxElectors)}.Append(nil), 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRosters(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b, r.Encode())
	})
}
