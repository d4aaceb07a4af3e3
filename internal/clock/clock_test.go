package clock

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A wall clock that is set, or stands still, does not move the monotonic one.
func TestClocksAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := time.UnixMilli(1_700_000_000_000)
		c := New(func() time.Time { return wall })
		started := time.Now()
		time.Sleep(3 * time.Second)
		require.Equal(t, 3*time.Second, c.Since())
		require.Equal(t, wall, c.Now())
		require.Equal(t, started, c.Started())

		wall = wall.Add(-time.Hour)
		require.Equal(t, wall, c.Now())
		require.Equal(t, 3*time.Second, c.Since())
	})
}

func TestOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(time.Now)
		older := c.Older(time.Minute)
		require.Equal(t, time.Minute, older.Since())
		require.Equal(t, c.Now(), older.Now())
		require.Zero(t, c.Since(), "the other one is untouched")
	})
}
