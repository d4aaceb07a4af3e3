package persist

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/disk"
)

// snapshot is one that is being taken.
type snapshot struct {
	at    time.Time
	begun chan error
	taken chan struct{} // closed when nothing more is done with files
	files *disk.Snapshot
}

// Snapshot takes a snapshot of all that has changed before, and leaves keep of
// them: see disk.Snapshot.Take. Writers wait while a file is begun, as for a
// rewrite, and for nothing else of it. It waits itself for a rewrite that is
// under way, and needs Run.
func (p *Persister) Snapshot(ctx context.Context, at time.Time, keep int) (name string, err error) {
	s := &snapshot{at: at, begun: make(chan error, 1), taken: make(chan struct{})}
	defer close(s.taken)
	select {
	case p.snapshots <- s:
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the journal: %w", ctx.Err())
	}
	if err := <-s.begun; err != nil {
		return "", err
	}
	return s.files.Take(keep)
}

// beginSnapshot writes what has changed, and has it in a file that stays as it is.
func (p *Persister) beginSnapshot(s *snapshot) {
	var harmless error
	err := p.busy(func() error {
		if err := p.flush(); err != nil {
			return err
		}
		s.files, harmless = p.cfg.Journal.BeginSnapshot(s.at)
		return p.cfg.Journal.Err()
	})
	if err == nil {
		err = harmless
	}
	s.begun <- err
}
