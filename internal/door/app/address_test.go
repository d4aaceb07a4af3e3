package app

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for good, want := range map[string]string{
		"http://127.0.0.1:3000": "127.0.0.1:3000", "http://localhost": "localhost:80", "https://[::1]/": "[::1]:443", "unix:/run/a": "/run/a", "unix:///run/a": "/run/a",
	} {
		got, err := parse(good)
		require.NoError(t, err, good)
		require.Equal(t, want, got.address)
	}
	for _, bad := range []string{"", "127.0.0.1:3000", "ftp://x", "http://", "http://x/base", "http://u@x", "http://x?a", "unix:", "unix:relative"} {
		_, err := parse(bad)
		require.Error(t, err, bad)
	}
}
