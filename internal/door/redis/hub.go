package redis

import (
	"fmt"
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

const (
	// maxAllChannels bounds the channels that all clients of this node have
	// subscribed to, maxAllPatterns and maxPatternBytes the patterns: every
	// message is matched with each of these.
	maxAllChannels  = 1 << 20
	maxAllPatterns  = 4 << 10
	maxPatternBytes = 256 << 10
)

// hub knows who has subscribed to what. Its lists are replaced and never
// changed, so that they can be walked without its lock.
type hub struct {
	subscribers atomic.Int64 // connections

	mu           sync.RWMutex // guards what follows
	topics       [2]map[string]subject
	patternBytes int // of all patterns
}

// subject is a channel or a pattern, and who has subscribed to it.
type subject struct {
	queues  []*queue
	pattern *glob.Pattern // nil of a channel
}

// add subscribes a queue. pattern is nil of a channel. It is refused where this
// node has all that it takes.
func (h *hub) add(t topic, name string, pattern *glob.Pattern, q *queue) refusal {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[t] == nil {
		h.topics[t] = make(map[string]subject)
	}
	s, known := h.topics[t][name]
	switch {
	case known:
	case t == channels && len(h.topics[t]) >= maxAllChannels:
		return refusal(fmt.Sprintf("ERR too many channels: the clients of this node have subscribed to %d, which are all that it takes", maxAllChannels))
	case t == patterns && (len(h.topics[t]) >= maxAllPatterns || h.patternBytes+len(name) > maxPatternBytes):
		return refusal(fmt.Sprintf("ERR too many patterns: this node takes %d of all its clients, of %d bytes together", maxAllPatterns, maxPatternBytes))
	case t == patterns:
		h.patternBytes += len(name)
	}
	h.topics[t][name] = subject{append(slices.Clip(s.queues), q), pattern}
	return none
}

func (h *hub) remove(t topic, name string, q *queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.topics[t][name]
	s.queues = slices.DeleteFunc(slices.Clone(s.queues), func(other *queue) bool { return other == q })
	if len(s.queues) > 0 {
		h.topics[t][name] = s
		return
	}
	if s.pattern != nil {
		h.patternBytes -= len(name)
	}
	delete(h.topics[t], name)
}

// of returns the subscribers of a channel.
func (h *hub) of(channel string) []*queue {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[channels][channel].queues
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
	for name, s := range h.topics[patterns] {
		if s.pattern.Match(channel) {
			fit = append(fit, listeners{name, s.queues})
		}
	}
	return fit
}

func (h *hub) count(t topic) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.topics[t])
}

// channelNames returns the channels that fit a pattern.
func (h *hub) channelNames(pattern *glob.Pattern) []string {
	h.mu.RLock()
	names := slices.Collect(maps.Keys(h.topics[channels]))
	h.mu.RUnlock()
	names = slices.DeleteFunc(names, func(name string) bool { return !pattern.Match(name) })
	slices.Sort(names)
	return names
}
