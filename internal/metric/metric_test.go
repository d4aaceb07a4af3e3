package metric

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// lines lists a set as text.
func lines(s *Set) (list []string) {
	s.Each(func(name, help string, value int64) { list = append(list, fmt.Sprintf("%s %d %s", name, value, help)) })
	return list
}

func TestSetListsAllThatIsCounted(t *testing.T) {
	var s Set
	require.Empty(t, lines(&s))
	served := s.Counter("served", "Operations run.")
	bytes, reads := int64(7), 0
	s.Func(func(put Put) {
		reads++
		put("bytes_in", "Bytes read.", bytes)
		if reads > 1 {
			put("bytes_out", "Bytes written.", 2*bytes)
		}
	})
	refused := s.Counter("refused", "Operations refused.")
	served.Add(2)
	served.Add(1)
	refused.Add(1)
	require.EqualValues(t, 3, served.Load())
	require.Equal(t, []string{"served 3 Operations run.", "bytes_in 7 Bytes read.", "refused 1 Operations refused."}, lines(&s))
	require.Equal(t, 1, reads, "at once")
	bytes = 8
	require.Equal(t, map[string]int64{"served": 3, "bytes_in": 8, "bytes_out": 16, "refused": 1}, s.Values(), "as it is now")
}

// A source may count and make counters itself: nothing is locked meanwhile.
func TestSourcesAreFree(t *testing.T) {
	var s Set
	s.Func(func(put Put) { s.Counter("late", "Made while others are listed.") })
	require.Empty(t, lines(&s))
	require.Equal(t, []string{"late 0 Made while others are listed."}, lines(&s))
}

func TestCountersAreForAll(t *testing.T) {
	var s Set
	c := s.Counter("c", "")
	var counting sync.WaitGroup
	for range 8 {
		counting.Go(func() {
			for range 1000 {
				c.Add(1)
				s.Values()
			}
		})
	}
	counting.Wait()
	require.EqualValues(t, 8000, c.Load())
}
