package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAbstractSocketIsRefused(t *testing.T) {
	t.Parallel()
	_, err := still(t, "ada").listenUnix(t.Context(), "http-unix", "@door")
	require.ErrorContains(t, err, "-http-unix @door: an abstract socket is open to everybody")
}
