package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The owner's bookkeeping must not wait for a partition that an operation
// holds, and yet has to know when that operation has ended.
func TestShutWaitsForNobodyAndSumForAll(t *testing.T) {
	t.Parallel()
	s, err := NewStore(Config{
		Partitions: 2, PartitionOf: func(key string) int { return int(key[0] - '0') }, TagOf: func(key string) (string, bool) { return key, false },
	})
	require.NoError(t, err)
	s.Admit(0)
	s.Admit(1)
	require.True(t, s.IsOpen(0))
	require.True(t, s.Free(0, true))
	_, err = s.Do(&Op{Kind: Put, Key: "0a", Fields: []Field{{Name: "f", Value: "1"}}})
	require.NoError(t, err)

	held, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- s.Hold(0, func() {
			close(held)
			<-release
		})
	}()
	<-held
	s.Shut(0)
	require.False(t, s.IsOpen(0))
	_, ok := s.TrySum(0)
	require.False(t, ok, "an operation holds it")
	_, ok = s.TryPeek("0a")
	require.False(t, ok)
	require.False(t, s.Free(0, true))
	require.False(t, s.Free(0, false))
	_, ok = s.TrySum(1)
	require.True(t, ok, "and no other one")
	require.True(t, s.Free(1, false))

	close(release)
	require.NoError(t, <-done)
	sum, ok := s.TrySum(0)
	require.True(t, ok)
	require.Equal(t, Sum{Digest: s.Digest(0), Records: 1, Live: 1}, sum)
	rec, ok := s.TryPeek("0a")
	require.True(t, ok)
	require.Equal(t, "0a", rec.Key())
	_, err = s.Do(&Op{Kind: Get, Key: "0a"})
	require.ErrorIs(t, err, ErrNotServed)

	s.partitions[1].mu.RLock()
	defer s.partitions[1].mu.RUnlock()
	require.True(t, s.Free(1, false), "readers do not keep each other waiting")
	require.False(t, s.Free(1, true), "but a writer")
}
