package inbound

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/absence"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/session"
)

// A node that was away for long lets nobody have its copies until it knows
// which are of use, and takes those of others all the same.
func TestNodeThatWasAwayGivesNoCopies(t *testing.T) {
	now := time.Now()
	away := absence.New(absence.Config{
		Now: func() time.Time { return now }, HostAhead: func() time.Duration { return 0 }, InTouch: func() bool { return true },
		Others: func() []member.ID { return nil }, Drop: func(time.Time) int { return 0 },
		Log: slog.New(slog.DiscardHandler), Events: events.New(time.Now),
	})
	store, err := session.NewStore(session.Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: func(key string) (string, bool) { return key, false },
	})
	require.NoError(t, err)
	h := &Handler{Absence: away, Replicator: replication.New(replication.Config{Store: store, Partitions: 1})}
	ours, theirs := net.Pipe()
	cfg := peer.Config{Self: func() peer.Identity { return peer.Identity{Name: "a"} }, Limits: Limits}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { _ = peer.Accept(ctx, theirs, cfg, h) }) // ends with its context
	defer serving.Wait()
	defer cancel()
	link, err := peer.Connect(ctx, ours, cfg)
	require.NoError(t, err)
	defer link.Close()
	list := func() error {
		_, err := link.Call(ctx, replication.TypeList, make([]byte, 10))
		return err
	}
	page := func() error {
		_, err := link.Call(ctx, replication.TypeListPage, make([]byte, 18))
		return err
	}
	pull := func() error {
		_, err := link.Call(ctx, replication.TypePull, make([]byte, 2))
		return err
	}
	require.NoError(t, list())
	require.NoError(t, page())
	require.NoError(t, pull())
	now = now.Add(absence.Limit + time.Second)
	require.ErrorContains(t, list(), "away for long")
	require.ErrorContains(t, page(), "away for long")
	require.ErrorContains(t, pull(), "away for long")
	_, err = link.Call(ctx, replication.TypeRecords, nil)
	require.NoError(t, err)
}
