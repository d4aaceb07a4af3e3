package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
)

var (
	anyPartition = rapid.IntRange(0, ring.Partitions-1)
	anyClaimRef  = rapid.Custom(func(t *rapid.T) claimRef {
		return claimRef{rapid.Uint64Min(1).Draw(t, "epoch"), anyID.Draw(t, "by")}
	})
	anyAnswer = rapid.Custom(func(t *rapid.T) claimAnswer {
		return claimAnswer{
			left:   time.Duration(rapid.Uint32().Draw(t, "left")) * time.Millisecond,
			status: claimStatus(rapid.IntRange(int(claimAccepted), int(claimEarly)).Draw(t, "status")),
			epoch:  rapid.Uint64().Draw(t, "epoch"), claimant: rapid.StringN(0, 255, 255).Draw(t, "claimant"),
			digest: rapid.Uint64().Draw(t, "digest"), count: rapid.Uint32().Draw(t, "count"),
		}
	})
)

func TestClaimRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := claimRequest{
			epoch: rapid.Uint64Min(1).Draw(t, "epoch"), fingerprint: rapid.StringN(0, 255, 255).Draw(t, "fingerprint"),
			asked: rapid.SliceOfN(anyID, 1, 255).Draw(t, "asked"), parts: rapid.SliceOfN(anyPartition, 1, ring.Partitions).Draw(t, "parts"),
		}
		b := r.encode()
		got, err := decodeClaim(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		_, err = decodeClaim(append(b, 0))
		require.ErrorIs(t, err, errClaim, "half a partition")
	})
}

func TestClaimRequestRefusesWhatIsNoPartition(t *testing.T) {
	t.Parallel()
	_, err := decodeClaim(claimRequest{epoch: 1, parts: []int{ring.Partitions}}.encode())
	require.ErrorIs(t, err, errClaim)
	require.ErrorContains(t, err, "partition 1024")
	_, err = decodeClaim(claimRequest{epoch: 1, parts: make([]int, ring.Partitions+1)}.encode())
	require.ErrorIs(t, err, errClaim, "more partitions than there are")
	_, err = decodeClaim(claimRequest{parts: []int{1}}.encode())
	require.ErrorContains(t, err, "epoch 0, accepted are 1 and above")
}

func TestClaimAnswersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answers := rapid.SliceOfN(anyAnswer, 1, 20).Draw(t, "answers")
		var b []byte
		for _, a := range answers {
			b = a.append(b)
		}
		got, err := decodeClaimAnswers(b, len(answers))
		require.NoError(t, err)
		require.Equal(t, answers, got)
		_, err = decodeClaimAnswers(b[:len(b)-1], len(answers))
		require.ErrorIs(t, err, errClaim)
		_, err = decodeClaimAnswers(b, len(answers)+1)
		require.ErrorIs(t, err, errClaim)
	})
	_, err := decodeClaimAnswers(claimAnswer{status: claimEarly + 1}.append(nil), 1)
	require.ErrorIs(t, err, errClaim)
	_, err = decodeClaimAnswers(claimAnswer{}.append(nil), 1)
	require.ErrorIs(t, err, errClaim)
}

func TestHoldingRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := holding{rapid.ByteRange(0, 2).Draw(t, "state"), rapid.Uint64().Draw(t, "version"), rapid.Uint64().Draw(t, "hash")}
		got, err := decodeHolding(h.encode())
		require.NoError(t, err)
		require.Equal(t, h, got)
		require.NotEmpty(t, got.answer("a").State)
	})
	for _, bad := range [][]byte{nil, make([]byte, 16), make([]byte, 18), append([]byte{3}, make([]byte, 16)...)} {
		_, err := decodeHolding(bad)
		require.Error(t, err)
	}
}

func TestHeartbeatRoundTrip(t *testing.T) {
	t.Parallel()
	n := still(t, "a", func(c *Config) { c.Now = atMilli(1234567) })
	n.see(t)
	n.owner.claimsHash.Store(0xfeedface)
	beat, err := decodePing(n.ping())
	require.NoError(t, err)
	require.Equal(t, heartbeat{state: StateReady, clock: time.UnixMilli(1234567), claims: 0xfeedface, fingerprint: n.View().Table.Fingerprint()}, beat)

	with, err := decodePing(append(n.ping(), "claims"...))
	require.NoError(t, err)
	require.Equal(t, "claims", string(with.table))

	whole := n.ping()
	for cut := range whole {
		_, err := decodePing(whole[:cut])
		require.Error(t, err, "first %d bytes", cut)
	}
	for _, state := range []byte{0, byte(StateLeaving) + 1} {
		whole[0] = state
		_, err := decodePing(whole)
		require.Error(t, err, "state %d", state)
	}
}

func FuzzDecodeClaim(f *testing.F) {
	f.Add(claimRequest{7, "0123456789abcdef", []ID{id("a", 1), id("b", 2)}, []int{0, 1, 1023}}.encode())
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 255, 255})
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 250}, make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeClaim(b)
		if err != nil {
			require.ErrorIs(t, err, errClaim)
			return
		}
		require.Equal(t, b, r.encode())
	})
}

func FuzzDecodeClaimAnswers(f *testing.F) {
	f.Add(claimAnswer{status: claimStale, epoch: 3, claimant: "a~1"}.append(nil), 1)
	f.Add(append(append([]byte{1}, make([]byte, 20)...), append([]byte{240}, make([]byte, 300)...)...), 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > ring.Partitions {
			return // n is this member's own number of questions
		}
		answers, err := decodeClaimAnswers(b, n)
		if err != nil {
			require.ErrorIs(t, err, errClaim)
			return
		}
		require.Len(t, answers, n)
	})
}

func FuzzDecodeClaims(f *testing.F) {
	o := &ownership{node: &Node{id: id("a", 1)}}
	o.setHolderLocked(3, claimRef{9, id("a", 1)})
	f.Add(o.encodeClaims())
	f.Add(append([]byte{1, 255}, make([]byte, 9*ring.Partitions+255)...))
	f.Add([]byte{1, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := decodeClaims(b)
		if err != nil {
			require.ErrorIs(t, err, errClaim)
			return
		}
		for p, c := range table {
			if c.epoch != 0 {
				require.NotEmpty(t, c.by.Name, "partition %d", p)
			}
		}
	})
}

func FuzzDecodePing(f *testing.F) {
	f.Add(append([]byte{2, 18: 0, 19: 2}, "abclaims"...))
	f.Add(append([]byte{2, 18: 0, 19: 255}, make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		beat, err := decodePing(b)
		if err != nil {
			return
		}
		require.Equal(t, len(b), 20+len(beat.fingerprint)+len(beat.table))
	})
}
