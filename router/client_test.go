package router

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// halfOpen is a pipe whose sending side alone can be closed, as TCP's can.
type halfOpen struct{ net.Conn }

func (halfOpen) CloseWrite() error { return nil }

// A client that was refused has until it pauses to come to its answer, and five
// seconds at most. One that drips does not keep its connection.
func TestLingerEnds(t *testing.T) {
	for name, c := range map[string]struct {
		bytes int           // of each write
		every time.Duration // after the one before
		want  time.Duration
	}{
		"silent":    {0, time.Hour, lingerPause},
		"drips":     {1, lingerPause / 10, lingerPause},
		"sends on":  {lingerStep, lingerPause / 10, lingerMost},
		"has ended": {0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				var other sync.WaitGroup
				other.Go(func() {
					defer far.Close()
					for piece := make([]byte, c.bytes); c.every > 0; time.Sleep(c.every) {
						if _, err := far.Write(piece); err != nil {
							return
						}
					}
				})
				start := time.Now()
				(&client{conn: halfOpen{near}}).linger()
				require.Equal(t, c.want, time.Since(start))
				near.Close()
				other.Wait()
			})
		})
	}
}
