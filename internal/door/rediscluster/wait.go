package rediscluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Wait implements redis.Cluster: the owner of each partition says to how many
// members it has brought everything that it had to bring when it was asked.
func (c *Cluster) Wait(ctx context.Context, partitions []int, copies int) int {
	if len(partitions) == 0 { // nothing was written, so every copy has it
		view := c.cfg.View()
		return max(0, min(view.Target(), len(view.Nodes()))-1)
	}
	var here []int
	there := make(map[*mesh.Link][]int)
	for _, p := range partitions {
		d := c.cfg.Owner.Decide(p)
		switch l := c.cfg.Mesh.Link(d.Owner); {
		case d.Here():
			here = append(here, p)
		case d.Verdict == ownership.Forward && l != nil:
			there[l] = append(there[l], p)
		default:
			return 0 // nobody serves it at this moment
		}
	}
	var mu sync.Mutex
	least := maxCopies
	take := func(reached int) {
		mu.Lock()
		defer mu.Unlock()
		least = min(least, reached)
	}
	var wg sync.WaitGroup
	for l, parts := range there {
		wg.Go(func() { take(askCopied(ctx, l, parts, copies)) })
	}
	take(c.copied(ctx, here, copies)) // meanwhile: it may take all the time that there is
	wg.Wait()
	return least
}

// askCopied asks an owner until it has reached so many copies, for a short time
// each: an answer that is long in coming takes the place of others on the link.
// An owner that ends answers at once, so it is not asked again at once.
func askCopied(ctx context.Context, l *mesh.Link, partitions []int, copies int) (reached int) {
	for pause := waitPoll; ctx.Err() == nil; pause = min(2*pause, waitPollMost) {
		answer, err := l.Call(ctx, mesh.TypeWait, encodeWait(partitions, copies))
		if err == nil && len(answer) == 2 {
			reached = int(binary.BigEndian.Uint16(answer))
		} else if ctx.Err() == nil {
			return reached
		}
		if reached >= copies {
			return reached
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return reached
	}
	// Time is up while the owner waits for more copies: how many it has reached
	// it says at once if it is asked for none.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitSlice)
	defer cancel()
	if answer, err := l.Call(ctx, mesh.TypeWait, encodeWait(partitions, 0)); err == nil && len(answer) == 2 {
		reached = int(binary.BigEndian.Uint16(answer))
	}
	return reached
}

// copied waits until what this member has to bring to the holders of partitions
// now is at so many of each, and returns the least number reached. Copies that a
// successor may know nothing of do not count. A member that serves none of them
// says the most.
func (c *Cluster) copied(ctx context.Context, partitions []int, copies int) int {
	begin := time.Now()
	reached := maxCopies // of those partitions that have got to so many
	for pause := waitPoll; ; pause = min(2*pause, waitPollMost) {
		least, waiting := reached, partitions[:0:0]
		for _, p := range partitions {
			got := c.cfg.Replicator.CaughtUp(c.holders(p), begin)
			if got > 0 && !c.cfg.Dispatcher.Confirms(p) {
				got = 0
			}
			if least = min(least, got); got < copies {
				waiting = append(waiting, p)
			} else {
				reached = min(reached, got)
			}
		}
		if partitions = waiting; len(partitions) == 0 {
			return least
		}
		select {
		case <-ctx.Done():
			return least
		case <-c.cfg.Context.Done():
			return least
		case <-time.After(pause):
		}
	}
}

// holders returns the members that should have a copy of a partition. Of one that
// is served here those count that are known to have had all of it: for one that
// the ring has just made a holder nothing is marked yet, and nothing has been sent.
func (c *Cluster) holders(p int) []string {
	ids := c.cfg.View().CopyHolders(p)
	if !c.cfg.Owner.Decide(p).Here() {
		return ids
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !c.cfg.Synced(id, p) })
}

const (
	maxCopies = 1<<16 - 1
	// waitPoll is after what time WAIT looks again for the first time, and
	// waitPollMost how long the pauses get. waitSlice is how long it keeps a
	// member waiting that asks.
	waitPoll     = time.Millisecond
	waitPollMost = 32 * time.Millisecond
	waitSlice    = 250 * time.Millisecond
)

// A WAIT that is forwarded is
//
//	u16 copies | u16 partition, any number of times
//
// and its answer the least number of copies as u16.
func encodeWait(partitions []int, copies int) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(min(max(copies, 0), maxCopies)))
	for _, p := range partitions {
		b = binary.BigEndian.AppendUint16(b, uint16(p))
	}
	return b
}

// ServeWait answers a WAIT that another member has forwarded.
func (c *Cluster) ServeWait(ctx context.Context, b []byte) ([]byte, error) {
	if len(b) < 2 || len(b)%2 != 0 {
		return nil, fmt.Errorf("wait of %d bytes: %w", len(b), session.ErrMalformed)
	}
	copies := int(binary.BigEndian.Uint16(b))
	var partitions []int
	for rest := b[2:]; len(rest) > 0; rest = rest[2:] {
		if p := int(binary.BigEndian.Uint16(rest)); p < ring.Partitions {
			partitions = append(partitions, p)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, waitSlice)
	defer cancel()
	return binary.BigEndian.AppendUint16(nil, uint16(c.copied(ctx, partitions, copies))), nil
}
