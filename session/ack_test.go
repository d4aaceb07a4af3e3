package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAck(t *testing.T) {
	for _, c := range []struct {
		name            string
		ack             Ack
		ofNone, ofThree int
	}{
		{"", AckDefault, 0, 0},
		{"async", AckAsync, 0, 0},
		{"replica", AckReplica, 0, 1},
		{"all", AckAll, 0, 3},
	} {
		ack, err := ParseAck(c.name)
		require.NoError(t, err)
		require.Equal(t, c.ack, ack)
		require.Equal(t, c.name, ack.String())
		require.Equal(t, c.ofNone, ack.Copies(0))
		require.Equal(t, c.ofThree, ack.Copies(3))
	}
	for _, bad := range []string{"All", "replica ", "2", "default"} {
		_, err := ParseAck(bad)
		require.ErrorContains(t, err, "async, replica, all", bad)
	}
	require.Equal(t, "ack(9)", Ack(9).String())
	require.Equal(t, "ack(-1)", Ack(-1).String())
	require.Zero(t, Ack(9).Copies(3), "an unknown one, as from a peer, waits for nothing")
}
