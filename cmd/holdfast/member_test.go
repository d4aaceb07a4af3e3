package main

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
)

// A signal that comes while a node starts does not cut the start short: others
// may have given it a place by then, which it has to give up in order.
func TestSignalDuringTheStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log bytes.Buffer
	err := serve(ctx, node.Config{
		Name: "ada", Cluster: "test", Role: node.RoleNode, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0",
		DrainTimeout: time.Minute, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}, nil)
	require.NoError(t, err)
	require.Regexp(t, "(?s)msg=started.*msg=drained.*msg=stopped", log.String())
}
