package dispatch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// platter is a disk that does what the test says.
type platter struct {
	waits  bool
	err    error // of Wait
	failed error
	behind time.Duration
	waited int
}

func (p *platter) Waits() bool                { return p.waits }
func (p *platter) Wait(context.Context) error { p.waited++; return p.err }
func (p *platter) Behind() time.Duration      { return p.behind }
func (p *platter) Err() error                 { return p.failed }

var errPlatter = errors.New("i/o error")

// A write is acknowledged when it is on the disk, where writers wait for that. A
// read waits for nothing, and a logout passes where the disk has failed.
func TestWritersWaitForTheDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		disk        platter
		kind        session.Kind
		waited      int
		uncertain   bool
		unconfirmed bool
	}{
		"a write":                          {platter{waits: true}, session.Put, 1, false, false},
		"a write, and nobody waits":        {platter{}, session.Put, 0, false, false},
		"a write, and the disk fails":      {platter{waits: true, err: errPlatter}, session.Put, 1, true, false},
		"a read":                           {platter{waits: true, err: errPlatter}, session.Get, 0, false, false},
		"a logout":                         {platter{waits: true}, session.Delete, 1, false, false},
		"a logout, and the disk fails":     {platter{waits: true, err: errPlatter}, session.Delete, 1, false, true},
		"a failed disk nobody waits for":   {platter{err: errPlatter}, session.Put, 0, false, false},
		"a touch, and the disk has failed": {platter{waits: true, err: errPlatter}, session.Touch, 1, true, false},
	} {
		disk := c.disk
		n := begin(t, "a", func(cfg *Config) { cfg.Disk = &disk })
		n.serving(ring.Partition("k"), 1)
		_, err := n.cfg.Store.Do(putOf("k"))
		require.NoError(t, err)
		op := &session.Op{Kind: c.kind, Key: "k", TTL: time.Hour}
		if c.kind == session.Put {
			op = putOf("k")
		}
		r, err := n.serveDegraded(t.Context(), ring.Partition("k"), opWork{op})
		require.Equal(t, c.waited, disk.waited, name)
		require.Equal(t, c.uncertain, errors.Is(err, session.ErrUncertain), name)
		require.Equal(t, c.unconfirmed, r.Unconfirmed, name)
		if c.uncertain {
			require.ErrorIs(t, err, errPlatter)
		} else {
			require.NoError(t, err, name)
		}
		disk.waited = 0
		_, err = n.copyOut(t.Context(), ring.Partition("k"), 1, opWork{op}, reply{changed: []string{"k"}}, session.AckAsync)
		require.Equal(t, c.uncertain || c.kind == session.Get && disk.err != nil, err != nil, name)
	}
}

// A disk that is behind slows writers down, and then refuses new sessions, as
// copies that are.
func TestDiskThatIsBehind(t *testing.T) {
	t.Parallel()
	disk := &platter{}
	n := begin(t, "a", func(cfg *Config) { cfg.Disk = disk })
	p := ring.Partition("k")
	n.serving(p, 1)
	admit := func(behind time.Duration) error {
		disk.behind = behind
		n.look()
		return n.admit(t.Context(), p, opWork{putOf("k")})
	}
	require.NoError(t, admit(lagSlow/2))
	require.Zero(t, n.count.slowed.Load())
	require.NoError(t, admit(2*lagSlow))
	require.EqualValues(t, 1, n.count.slowed.Load())
	require.ErrorIs(t, admit(lagRefuse+time.Second), session.ErrFull)
	require.NoError(t, n.admit(t.Context(), p, opWork{&session.Op{Kind: session.Delete, Key: "k"}}), "a logout always passes")
	require.NoError(t, admit(0))

	disk.failed = errPlatter
	require.NoError(t, admit(0), "nobody waits for it")
	disk.waits = true
	err := admit(0)
	require.ErrorIs(t, err, session.ErrUnavailable)
	require.ErrorIs(t, err, errPlatter)
	require.NoError(t, n.admit(t.Context(), p, opWork{&session.Op{Kind: session.Delete, Key: "k"}}), "a logout always passes")
}
