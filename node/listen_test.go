package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAbstractSocketIsRefused(t *testing.T) {
	t.Parallel()
	_, err := listenUnix(t.Context(), "HTTPUnix", "@door")
	require.ErrorContains(t, err, "Config.HTTPUnix @door: an abstract socket is open to everybody")
}
