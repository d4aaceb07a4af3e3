package ownership

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

// Tests that draw values do not run in parallel: a generator of rapid writes
// its own name when another one first asks for it, without a lock, and the
// library's own are shared by all tests.
var (
	anyName = rapid.StringMatching(`[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?`)
	anyBoot = rapid.StringMatching(`[0-9a-f]{20}`)
	anyID   = rapid.Custom(func(t *rapid.T) member.ID {
		return member.ID{Name: anyName.Draw(t, "name"), Boot: anyBoot.Draw(t, "boot")}
	})
	anyPartition = rapid.IntRange(0, ring.Partitions-1)
	anyClaim     = rapid.Custom(func(t *rapid.T) Claim {
		return Claim{rapid.Uint64Min(1).Draw(t, "epoch"), anyID.Draw(t, "by")}
	})
	anyAnswer = rapid.Custom(func(t *rapid.T) Answer {
		return Answer{
			Left:   time.Duration(rapid.Uint32().Draw(t, "left")) * time.Millisecond,
			Status: Status(rapid.IntRange(int(Accepted), int(Behind)).Draw(t, "status")),
			Epoch:  rapid.Uint64().Draw(t, "epoch"), Claimant: rapid.StringN(0, 255, 255).Draw(t, "claimant"),
			Digest: rapid.Uint64().Draw(t, "digest"), Count: rapid.Uint32().Draw(t, "count"),
		}
	})
)

func TestClaimRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Request{
			Epoch: rapid.Uint64Min(1).Draw(t, "epoch"), Ring: rapid.StringN(0, 255, 255).Draw(t, "fingerprint"),
			Asked: rapid.SliceOfN(anyID, 1, maxVoters).Draw(t, "asked"), Parts: rapid.SliceOfN(anyPartition, 1, ring.Partitions).Draw(t, "parts"),
		}
		b := r.Encode()
		got, err := DecodeRequest(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		_, err = DecodeRequest(append(b, 0))
		require.ErrorIs(t, err, ErrMalformed, "half a partition")
	})
}

func TestClaimRequestRefusesWhatIsNoPartition(t *testing.T) {
	t.Parallel()
	_, err := DecodeRequest(Request{Epoch: 1, Parts: []int{ring.Partitions}}.Encode())
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorContains(t, err, "partition 1024")
	_, err = DecodeRequest(Request{Epoch: 1, Parts: make([]int, ring.Partitions+1)}.Encode())
	require.ErrorIs(t, err, ErrMalformed, "more partitions than there are")
	_, err = DecodeRequest(Request{Parts: []int{1}}.Encode())
	require.ErrorContains(t, err, "epoch 0, accepted are 1 and above")
}

func TestClaimAnswersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answers := rapid.SliceOfN(anyAnswer, 1, 20).Draw(t, "answers")
		var b []byte
		for _, a := range answers {
			b = a.Append(b, true)
		}
		require.LessOrEqual(t, len(b), len(answers)*MaxAnswer)
		got, err := DecodeAnswers(b, len(answers))
		require.NoError(t, err)
		require.Equal(t, answers, got)
		_, err = DecodeAnswers(b[:len(b)-1], len(answers))
		require.ErrorIs(t, err, ErrMalformed)
		_, err = DecodeAnswers(b, len(answers)+1)
		require.ErrorIs(t, err, ErrMalformed)
	})
	_, err := DecodeAnswers(Answer{Status: Behind + 1}.Append(nil, true), 1)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = DecodeAnswers(Answer{}.Append(nil, true), 1)
	require.ErrorIs(t, err, ErrMalformed)
	long, err := DecodeAnswers(Answer{Status: Accepted, Left: NeverLeft + time.Hour}.Append(nil, true), 1)
	require.NoError(t, err)
	require.Equal(t, NeverLeft, long[0].Left, "it is as if it never had")
}

// A claimant of an older version knows two words of a voter that agrees.
func TestOlderClaimantsAreToldWhatTheyKnow(t *testing.T) {
	for said, told := range map[Status]Status{Accepted: Accepted, Moved: Moved, Stale: Stale, Early: Early, Whole: Accepted, Partial: Moved, Behind: Accepted} {
		got, err := DecodeAnswers(Answer{Status: said, Left: NeverLeft}.Append(nil, false), 1)
		require.NoError(t, err)
		require.Equal(t, told, got[0].Status, "%v", said)
	}
}

func TestClaimsTableRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	whole := (&Table{3: {9, id("a", 1)}, 7: {2, id("b", 1)}}).Encode()
	table, err := DecodeTable(whole)
	require.NoError(t, err)
	require.Equal(t, &Table{3: {9, id("a", 1)}, 7: {2, id("b", 1)}}, table)
	entry := func(p int) int { return len(whole) - 9*(ring.Partitions-p) }
	for what, change := range map[string]func(b []byte) []byte{
		"no bytes":                  func([]byte) []byte { return nil },
		"claimants cut short":       func(b []byte) []byte { return b[:20] },
		"a claimant without a boot": func(b []byte) []byte { b[3] = 'x'; return b },
		"half an epoch":             func(b []byte) []byte { return b[:len(b)-1] },
		"a claimant too many":       func(b []byte) []byte { b[entry(3)] = 2; return b },
		"a claim of epoch 0":        func(b []byte) []byte { b[entry(3)+8] = 0; return b },
	} {
		_, err := DecodeTable(change(slices.Clone(whole)))
		require.ErrorIs(t, err, ErrMalformed, what)
	}
}

func TestOverRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Over{Epoch: rapid.Uint64().Draw(t, "epoch"), Parts: rapid.SliceOfN(anyPartition, 1, ring.Partitions).Draw(t, "parts")}
		b := o.Encode()
		got, err := DecodeOver(b)
		require.NoError(t, err)
		require.Equal(t, o, got)
		_, err = DecodeOver(append(b, 0))
		require.ErrorIs(t, err, ErrMalformed, "half a partition")
		_, err = DecodeOver(b[:rapid.IntRange(0, 7).Draw(t, "cut")])
		require.ErrorIs(t, err, ErrMalformed, "half an epoch")
	})
	_, err := DecodeOver(Over{Epoch: 1, Parts: []int{ring.Partitions}}.Encode())
	require.ErrorIs(t, err, ErrMalformed)
	_, err = DecodeOver(Over{Epoch: 1, Parts: make([]int, ring.Partitions+1)}.Encode())
	require.ErrorIs(t, err, ErrMalformed)
	o, err := DecodeOver(Over{Epoch: 1, Parts: []int{3}, Asked: []member.ID{id("a", 1)}}.Encode())
	require.NoError(t, err)
	require.Empty(t, o.Asked, "who is told is not sent")
}

func TestStatusesAndPhasesHaveNames(t *testing.T) {
	t.Parallel()
	for status, name := range map[Status]string{Accepted: "accepted", Moved: "moved", Stale: "stale", Early: "early", Whole: "whole", Partial: "partial", Behind: "behind", 0: "status(0)", Behind + 1: "status(8)"} {
		require.Equal(t, name, status.String())
	}
	for phase, name := range map[Phase]string{Away: "away", Claiming: "claiming", Fetching: "fetching", Warm: "warm"} {
		require.Equal(t, name, phase.String())
	}
	for verdict, name := range map[Verdict]string{Wait: "wait", Forward: "forward", FetchFirst: "fetch first", Serve: "serve"} {
		require.Equal(t, name, verdict.String())
		require.Equal(t, verdict == FetchFirst || verdict == Serve, Decision{Verdict: verdict}.Here())
	}
}

func FuzzDecodeClaim(f *testing.F) {
	f.Add(Request{7, "0123456789abcdef", []member.ID{id("a", 1), id("b", 2)}, []int{0, 1, 1023}}.Encode())
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 255, 255})
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 250}, make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b, r.Encode())
	})
}

func FuzzDecodeOver(f *testing.F) {
	f.Add(Over{Epoch: 7, Parts: []int{0, 1, 1023}}.Encode())
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := DecodeOver(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b, o.Encode())
	})
}

func FuzzDecodeClaimAnswers(f *testing.F) {
	f.Add(Answer{Status: Stale, Epoch: 3, Claimant: "a~1"}.Append(nil, true), 1)
	f.Add(append(append([]byte{1}, make([]byte, 20)...), append([]byte{240}, make([]byte, 300)...)...), 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > ring.Partitions {
			return // n is this member's own number of questions
		}
		answers, err := DecodeAnswers(b, n)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Len(t, answers, n)
	})
}

func FuzzDecodeClaims(f *testing.F) {
	f.Add((&Table{3: {9, id("a", 1)}}).Encode())
	f.Add(append([]byte{1, 255}, make([]byte, 9*ring.Partitions+255)...))
	f.Add([]byte{1, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := DecodeTable(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		for p, c := range table {
			if c.Epoch != 0 {
				require.NotEmpty(t, c.By.Name, "partition %d", p)
			}
		}
	})
}
