package redis

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/glob"
)

// topic is what one can subscribe to.
type topic int

const (
	channels topic = iota
	patterns
)

var topicVerbs = [2]struct{ on, off string }{{"subscribe", "unsubscribe"}, {"psubscribe", "punsubscribe"}}

// hub knows who has subscribed to what. Its lists are replaced and never
// changed, so that they can be walked without its lock.
type hub struct {
	subscribers atomic.Int64 // connections

	mu     sync.RWMutex // guards topics
	topics [2]map[string][]*queue
}

func (h *hub) add(t topic, name string, q *queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[t] == nil {
		h.topics[t] = make(map[string][]*queue)
	}
	h.topics[t][name] = append(slices.Clip(h.topics[t][name]), q)
}

func (h *hub) remove(t topic, name string, q *queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(h.topics[t][name]), func(other *queue) bool { return other == q })
	if len(rest) == 0 {
		delete(h.topics[t], name)
		return
	}
	h.topics[t][name] = rest
}

func (h *hub) of(t topic, name string) []*queue {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[t][name]
}

// listeners are the subscribers of one pattern.
type listeners struct {
	pattern string
	queues  []*queue
}

// fitting returns the subscribers whose patterns fit a channel.
func (h *hub) fitting(channel string) (fit []listeners) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for pattern, queues := range h.topics[patterns] {
		if glob.Match(pattern, channel) {
			fit = append(fit, listeners{pattern, queues})
		}
	}
	return fit
}

func (h *hub) patternCount() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.topics[patterns])
}

func (h *hub) channelNames() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Sorted(maps.Keys(h.topics[channels]))
}
