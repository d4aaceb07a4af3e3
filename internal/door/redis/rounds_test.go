package redis

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A thousand who ask while a round runs share the next one, which has begun
// after they asked.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group sync.WaitGroup
		var mu sync.Mutex // guards began
		var began []time.Time
		r := rounds{run: func() {
			mu.Lock()
			began = append(began, time.Now())
			mu.Unlock()
			time.Sleep(time.Second)
		}}
		for i := range 1000 {
			group.Go(func() {
				if i > 0 {
					time.Sleep(time.Duration(i%10+1) * 10 * time.Millisecond)
				}
				asked := time.Now()
				r.join(t.Context(), group.Go)
				mu.Lock()
				defer mu.Unlock()
				require.False(t, began[len(began)-1].Before(asked))
				require.LessOrEqual(t, time.Since(asked), 2*time.Second)
			})
		}
		group.Wait()
		require.Len(t, began, 2)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r.join(ctx, group.Go) // does not wait
		group.Wait()
		require.Len(t, began, 3)
	})
}
