package attempt

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a request says of itself stays, but for a deadline that is too far off.
func TestNamed(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	fresh := Attempt{Fenced: true}.Named(now, time.Second)
	require.NotZero(t, fresh.ID)
	require.Equal(t, Attempt{ID: fresh.ID, Deadline: now.Add(time.Second), Sent: now, Fenced: true}, fresh)
	require.NotEqual(t, fresh.ID, Attempt{}.Named(now, time.Second).ID)

	told := Attempt{ID: 7, Deadline: now.Add(time.Millisecond), Sent: now.Add(-time.Minute), Repeat: true}
	require.Equal(t, told, told.Named(now, time.Second))
	told.Deadline = now.Add(time.Hour)
	require.Equal(t, now.Add(time.Second), told.Named(now, time.Second).Deadline)
}
