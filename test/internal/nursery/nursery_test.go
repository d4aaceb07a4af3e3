package nursery

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNurseryEndsWhatItStarted(t *testing.T) {
	n := New()
	log := filepath.Join(t.TempDir(), "log")
	short, err := n.Start([]string{"sh", "-c", "echo said; exit 3"}, nil, log)
	require.NoError(t, err)
	<-short.Gone()
	require.Equal(t, 3, short.Code())
	require.True(t, short.Ended())
	said, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "said\n", string(said))

	long, err := n.Start([]string{"sleep", "600"}, os.Environ(), log)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(long.Pid(), syscall.SIGSTOP))
	n.Close() // frozen or not
	require.True(t, long.Ended())
	require.ErrorIs(t, syscall.Kill(long.Pid(), 0), syscall.ESRCH)

	_, err = New().Start([]string{"/nowhere"}, nil, log)
	require.Error(t, err)
}
