package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rotated is a store in which {a}1 has just become {a}2.
func rotated(t *testing.T) (s *Store, c *clock) {
	c = newClock()
	s = propertyStore(t, c)
	_, err := s.Do(&Op{Kind: Put, Key: "{a}1", Fields: []Field{{Name: "x", Value: "1"}}})
	require.NoError(t, err)
	_, err = s.Do(&Op{Kind: Rotate, Key: "{a}1", NewKey: "{a}2"})
	require.NoError(t, err)
	return s, c
}

// TestOldKeyLeads: for ten seconds, and then no more, whether the sweep has
// come by or not. A tombstone it is all the time.
func TestOldKeyLeads(t *testing.T) {
	s, c := rotated(t)
	ops := []*Op{
		{Kind: Get, Key: "{a}1"}, {Kind: Put, Key: "{a}1"}, {Kind: Patch, Key: "{a}1"}, {Kind: Touch, Key: "{a}1"},
		{Kind: Rotate, Key: "{a}1", NewKey: "{a}3"},
	}
	asked := func(want string) {
		for _, op := range ops {
			_, err := s.Do(op)
			require.ErrorIs(t, err, ErrDeleted, "%s", op.Kind)
			require.Equal(t, want, leadOf(err), "%s", op.Kind)
			require.NotContains(t, err.Error(), "{a}", "no text holds a key")
		}
		res, err := s.Do(&Op{Kind: Delete, Key: "{a}1"})
		require.NoError(t, err)
		require.Equal(t, want, res.Moved)
	}
	rotation := s.Peek("{a}1").Rank().millis()
	for c.now().UnixMilli() < rotation+10_000 {
		asked("{a}2")
		checkInvariants(t, s)
		c.advance(999 * time.Millisecond)
		s.Expire()
	}
	asked("")
	require.Empty(t, s.partition("{a}1").moved, "it costs memory while it leads, and no longer")
	checkInvariants(t, s)

	s, c = rotated(t)
	c.advance(10*time.Second + time.Millisecond)
	asked("")
}

// TestCopyLeads: a copy knows where the session is, if it was told by somebody
// who knows; a late copy does not make it last.
func TestCopyLeads(t *testing.T) {
	s, c := rotated(t)
	rec := s.Peek("{a}1")
	told := func(encoded []byte) string {
		to := propertyStore(t, c)
		copied, _, err := DecodeRecord(encoded)
		require.NoError(t, err)
		for range 2 {
			_, err = to.Merge(copied)
			require.NoError(t, err)
		}
		require.Equal(t, s.Digest(s.cfg.PartitionOf("{a}2"))^s.Peek("{a}2").Hash(), to.Digest(to.cfg.PartitionOf("{a}1")), "copies are equal to the digest")
		checkInvariants(t, to)
		if c.now().UnixMilli() >= rec.Rank().millis()+10_000 {
			require.Empty(t, to.partition("{a}1").moved, "what comes late takes no memory")
		}
		_, err = to.Get("{a}1")
		require.ErrorIs(t, err, ErrDeleted)
		return leadOf(err)
	}
	require.Equal(t, "{a}2", told(rec.AppendMoved(nil)))
	require.Empty(t, told(rec.Append(nil)))
	c.advance(11 * time.Second)
	require.Empty(t, told(rec.AppendMoved(nil)))
}

// TestWhoKnowsLess: a copy that was told of the end alone learns where it leads
// by the next record, and forgets it by none.
func TestWhoKnowsLess(t *testing.T) {
	s, c := rotated(t)
	rec := s.Peek("{a}1")
	to := propertyStore(t, c)
	for i, want := range []string{"", "{a}2", "{a}2"} {
		encoded := rec.Append(nil)
		if i == 1 {
			encoded = rec.AppendMoved(nil)
		}
		copied, _, err := DecodeRecord(encoded)
		require.NoError(t, err)
		changed, err := to.Merge(copied)
		require.NoError(t, err)
		require.Equal(t, i < 2, changed)
		_, err = to.Get("{a}1")
		require.Equal(t, want, leadOf(err))
	}
}

// TestNewSessionLeadsNowhere: a session that is created on purpose under the
// old key, and its end, have nothing to do with the one that was moved.
func TestNewSessionLeadsNowhere(t *testing.T) {
	s, _ := rotated(t)
	_, err := s.Do(&Op{Kind: Put, Key: "{a}1", Create: true})
	require.NoError(t, err)
	checkInvariants(t, s)
	_, err = s.Do(&Op{Kind: Delete, Key: "{a}1"})
	require.NoError(t, err)
	_, err = s.Get("{a}1")
	require.Equal(t, ErrDeleted, err)
	checkInvariants(t, s)
}

// TestRotationsInAFlood: what leads is counted, and its map does not stay as
// large as it was.
func TestRotationsInAFlood(t *testing.T) {
	c := newClock()
	s := propertyStore(t, c)
	for i := range 500 {
		_, err := s.Do(&Op{Kind: Put, Key: fmt.Sprintf("{a}-%d-0", i)})
		require.NoError(t, err)
		_, err = s.Do(&Op{Kind: Rotate, Key: fmt.Sprintf("{a}-%d-0", i), NewKey: fmt.Sprintf("{a}-%d-1", i)})
		require.NoError(t, err)
	}
	p := s.partition("{a}")
	require.Len(t, p.moved, 500)
	checkInvariants(t, s)
	c.advance(11 * time.Second)
	s.Expire()
	require.Nil(t, p.moved)
	require.LessOrEqual(t, cap(p.movedDue), minTrim)
	checkInvariants(t, s)
}

// TestRotationBelowTheFloor: where memory was short, tombstones that end early
// are kept whole if they are made here, and lead on.
func TestRotationBelowTheFloor(t *testing.T) {
	c := newClock()
	s := propertyStore(t, c)
	_, err := s.Do(&Op{Kind: Put, Key: "{a}1"})
	require.NoError(t, err)
	require.NoError(t, s.RaiseFloor(s.cfg.PartitionOf("{a}1"), c.now().Add(48*time.Hour).UnixMilli()))
	_, err = s.Do(&Op{Kind: Rotate, Key: "{a}1", NewKey: "{a}2"})
	require.NoError(t, err)
	_, err = s.Get("{a}1")
	require.Equal(t, "{a}2", leadOf(err))
	checkInvariants(t, s)
}
