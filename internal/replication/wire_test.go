package replication

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// recording is a Peer that keeps the last frame and its answer.
type recording struct {
	Peer
	payload, answer []byte
}

func (r *recording) Call(ctx context.Context, typ byte, payload []byte) (answer []byte, err error) {
	r.payload = bytes.Clone(payload)
	r.answer, err = r.Peer.Call(ctx, typ, payload)
	return r.answer, err
}

// TestWireFormat holds the frames against their bytes: members of different
// versions talk to each other during a rolling restart.
func TestWireFormat(t *testing.T) {
	for typ, want := range map[byte]byte{TypeRecords: 0x10, TypeDigests: 0x11, TypeList: 0x12, TypePull: 0x13, TypeListPage: 0x14} {
		require.Equal(t, want, typ)
	}
	p := newPair(t)
	const part = 2
	key := keys(part, 1)[0]
	rec := put(t, p.there, key, "1")
	hexHash := func(h uint64) string { return hex.EncodeToString(appendHashes(nil, []uint64{h})) }
	keyHash, hash := hexHash(session.KeyHash(key)), hexHash(rec.Hash())
	encoded := hex.EncodeToString(rec.Append(nil))
	link := &recording{Peer: p.toB}
	requireFrame := func(payload, answer string) {
		t.Helper()
		require.Equal(t, strings.ReplaceAll(payload, " ", ""), hex.EncodeToString(link.payload))
		require.Equal(t, strings.ReplaceAll(answer, " ", ""), hex.EncodeToString(link.answer))
	}

	_, err := p.a.Digests(t.Context(), link, []int{part, 3})
	require.NoError(t, err)
	requireFrame("0002 0003", hash+" 0000000000000000")
	_, _, err = p.a.list(t.Context(), link, part, 1)
	require.NoError(t, err)
	requireFrame("0002 0000000000000000 0000000000000001", "0000000000000000 0000000000000000"+keyHash+hash)
	p.toB.old = true
	_, _, err = p.a.list(t.Context(), link, part, 1)
	require.NoError(t, err)
	requireFrame("0002 0000000000000000", "0000000000000000"+keyHash+hash)
	p.toB.old = false
	require.NoError(t, p.a.FetchKeys(t.Context(), link, part, key))
	requireFrame("0002"+keyHash, "00000001"+encoded)
	p.now = p.now.Add(-time.Hour)
	_, _, err = sendRecords(t.Context(), link, rec.Append(rec.Append(nil)), 2)
	require.NoError(t, err)
	requireFrame(encoded+encoded, "00000000 00000001") // both refused: from the future
}

func TestServeRefusesMalformedFrames(t *testing.T) {
	p := newPair(t)
	good := put(t, p.here, "k", "1").Append(nil)
	for _, c := range []struct {
		name    string
		typ     byte
		payload []byte
	}{
		{"type below", TypeRecords - 1, nil},
		{"type above", TypePull + 1, nil},
		{"record cut short", TypeRecords, good[:len(good)-1]},
		{"record and half of one", TypeRecords, append(bytes.Clone(good), good[:9]...)},
		{"half a partition", TypeDigests, []byte{0}},
		{"partition that is none", TypeDigests, []byte{0, testPartitions}},
		{"more partitions than there are", TypeDigests, make([]byte, 2*testPartitions+2)},
		{"list of none", TypeList, nil},
		{"list of two", TypeList, []byte{0, 0, 0, 1}},
		{"list of none that is", TypeList, append([]byte{255, 255}, make([]byte, 8)...)},
		{"list without a floor", TypeList, []byte{0, 0}},
		{"list with a floor that is no time", TypeList, append([]byte{0, 0}, bytes.Repeat([]byte{255}, 8)...)},
		{"page without a beginning", TypeListPage, make([]byte, 10)},
		{"page of none that is", TypeListPage, append([]byte{255, 255}, make([]byte, 16)...)},
		{"pull of nothing", TypePull, nil},
		{"pull of half a partition", TypePull, []byte{0}},
		{"pull of half a hash", TypePull, make([]byte, 2+12)},
		{"pull of too many", TypePull, make([]byte, 2+8*(pullKeys+1))},
		{"pull of a partition that is none", TypePull, []byte{0, testPartitions, 0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		_, err := p.b.Serve(older{}, c.typ, c.payload)
		require.ErrorIs(t, err, session.ErrMalformed, c.name)
	}
	require.NotNil(t, p.there.Peek("k"), "what came before the malformed record is merged")
}

func TestMalformedAnswers(t *testing.T) {
	p := newPair(t)
	key := keys(1, 1)[0]
	put(t, p.here, key, "1")
	answers := func(list, other []byte) Peer {
		return peerFunc(func(_ context.Context, typ byte, _ []byte) ([]byte, error) {
			if typ == TypeList {
				return list, nil
			}
			return other, nil
		})
	}
	oneEntry := make([]byte, 24)
	for name, call := range map[string]func() error{
		"digests missing":      func() error { _, err := p.a.Digests(t.Context(), answers(nil, nil), []int{1}); return err },
		"digests too many":     func() error { _, err := p.a.Digests(t.Context(), answers(nil, make([]byte, 16)), []int{1}); return err },
		"list cut short":       func() error { return p.a.Sync(t.Context(), answers(make([]byte, 23), nil), 1) },
		"list without a floor": func() error { return p.a.Sync(t.Context(), answers(make([]byte, 7), nil), 1) },
		"list of an unknown time": func() error {
			return p.a.Sync(t.Context(), answers(bytes.Repeat([]byte{255}, 8), nil), 1)
		},
		"pull without count":      func() error { return p.a.Fetch(t.Context(), answers(oneEntry, nil), 1) },
		"pull that stands still":  func() error { return p.a.Fetch(t.Context(), answers(oneEntry, make([]byte, 4)), 1) },
		"pull of more than asked": func() error { return p.a.Fetch(t.Context(), answers(oneEntry, []byte{0, 0, 0, 2}), 1) },
		"pull of far more":        func() error { return p.a.FetchKeys(t.Context(), answers(nil, []byte{255, 255, 255, 255}), 1, key) },
		"pull of garbage":         func() error { return p.a.Sync(t.Context(), answers(oneEntry, []byte{0, 0, 0, 1, 15}), 1) },
		"refusal cut short":       func() error { return p.a.Offer(t.Context(), answers(nil, make([]byte, 3)), 1) },
		"refusal of none":         func() error { return p.a.Offer(t.Context(), answers(nil, []byte{0, 0, 0, 1}), 1) },
		"refusal said twice":      func() error { return p.a.Offer(t.Context(), answers(nil, make([]byte, 8)), 1) },
		"page without the next":   func() error { return p.a.Fetch(t.Context(), paging{answers(nil, nil), make([]byte, 15)}, 1) },
		"page that goes back": func() error {
			return p.a.Fetch(t.Context(), paging{answers(nil, nil), appendHashes(nil, []uint64{0, 7})}, 1)
		},
	} {
		require.ErrorIs(t, call(), session.ErrMalformed, name)
	}
	later := []byte{0, 0, 0, 1, (session.Format + 1) << 4}
	require.ErrorIs(t, p.a.Sync(t.Context(), answers(oneEntry, later), 1), session.ErrFormat,
		"pull of a record that a later version wrote")
}

// FuzzServe: no frame makes Serve panic, and each error says that the frame is
// malformed, or of a later version.
func FuzzServe(f *testing.F) {
	p := newPair(f)
	rec := put(f, p.here, "k", "1").Append(nil)
	f.Add(TypeRecords, append(rec, rec...))
	f.Add(TypeDigests, appendPartitions(nil, allPartitions))
	f.Add(TypeList, append(appendPartitions(nil, []int{partitionOf("k")}), make([]byte, 8)...))
	f.Add(TypeListPage, append(appendPartitions(nil, []int{partitionOf("k")}), make([]byte, 16)...))
	f.Add(TypePull, appendHashes(appendPartitions(nil, []int{partitionOf("k")}), []uint64{session.KeyHash("k"), 1}))
	f.Add(byte(0), []byte(nil))
	f.Fuzz(func(t *testing.T, typ byte, payload []byte) {
		p := newPair(t)
		put(t, p.there, "k", "2")
		answer, err := p.b.Serve(older{}, typ, payload)
		if err != nil {
			require.True(t, errors.Is(err, session.ErrMalformed) || errors.Is(err, session.ErrFormat), err)
			require.Nil(t, answer)
			return
		}
		// An honest answer is one that the asking side takes.
		switch typ {
		case TypeRecords:
			_, _, err = decodeRefused(answer, len(decodeAll(t, payload)))
			require.NoError(t, err)
		case TypeDigests:
			require.Len(t, answer, 4*len(payload))
		case TypeList:
			_, err = decodeFloor(answer)
			require.NoError(t, err)
			_, err = decodeEntries(answer[8:])
			require.NoError(t, err)
		case TypeListPage:
			_, err = decodeEntries(answer[16:])
			require.NoError(t, err)
		case TypePull:
			decodeAll(t, answer[4:])
		}
	})
}

// paging is a Peer that answers the same page each time.
type paging struct {
	Peer
	page []byte
}

func (paging) ListsPages() bool { return true }

func (p paging) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	if typ == TypeListPage {
		return p.page, nil
	}
	return p.Peer.Call(ctx, typ, payload)
}

// FuzzAnswers: nothing that a peer answers makes the asking side panic or go
// round for ever, and each error says what was wrong.
func FuzzAnswers(f *testing.F) {
	p := newPair(f)
	rec := put(f, p.here, "k", "1").Append(nil)
	entries := appendHashes(nil, []uint64{0, 1, 2, session.KeyHash("k"), 3})
	f.Add(entries, append([]byte{0, 0, 0, 2}, rec...), []byte{})
	f.Add(entries, append([]byte{0, 0, 0, 1}, rec...), []byte{0, 0, 0, 0})
	f.Add([]byte{}, []byte{0, 0, 0, 1}, make([]byte, 8))
	f.Fuzz(func(t *testing.T, list, pull, rest []byte) {
		p := newPair(t)
		put(t, p.here, "k", "2")
		link := peerFunc(func(_ context.Context, typ byte, _ []byte) ([]byte, error) {
			switch typ {
			case TypeList:
				return list, nil
			case TypePull:
				return pull, nil
			}
			return rest, nil
		})
		_, err := p.a.Digests(t.Context(), link, []int{2})
		part := partitionOf("k")
		for _, err := range []error{
			err,
			p.a.Sync(t.Context(), link, part),
			p.a.Offer(t.Context(), link, part),
			p.a.Fetch(t.Context(), link, part),
			p.a.Fetch(t.Context(), paging{link, list}, part),
			p.a.FetchKeys(t.Context(), link, part, "k"),
		} {
			if err != nil && !errors.Is(err, session.ErrMalformed) {
				require.ErrorIs(t, err, ErrClocks)
			}
		}
	})
}
