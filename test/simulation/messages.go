package simulation

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

const (
	// channel is what the heralds of a run send to.
	channel = "news"
	// publishEvery is how often a message is sent, and heardWithin when it must
	// have come where all is well.
	publishEvery = 200 * time.Millisecond
	heardWithin  = time.Second
	// subscribers is how many clients listen, each at a node of its choice.
	subscribers = 2
	// heraldID is above those of all workers and readers.
	heraldID = 100
)

// herald publishes messages, numbered from 1, at any node, while some clients
// listen at others. What is promised of them is little: a subscriber gets each
// one at most, none that was not sent, and, where all is well, every one soon.
type herald struct {
	load *Load
	said int // the last number, sent or about to be
	at   []*subscriber
}

// subscriber is one client with one subscription at a time.
type subscriber struct {
	*caller
	random     *rand.Rand
	door       *Host
	subscribed time.Duration // since when; 0 while not
	replies    *resp.ReplyReader
	heard      map[int]struct{} // by this subscription
}

// announce has a herald and its subscribers run until the load stops.
func (l *Load) announce() {
	h := &herald{load: l}
	for i := range subscribers {
		e := &subscriber{caller: l.cluster.caller(heraldID + 1 + i), random: rand.New(rand.NewPCG(l.seed, uint64(heraldID+1+i)))}
		h.at = append(h.at, e)
	}
	l.running.Go(h.run)
}

// run publishes and listens in turns: who waits for an answer misses nothing,
// as what is heard waits in the connection.
func (h *herald) run() {
	own := h.load.cluster.caller(heraldID)
	random := rand.New(rand.NewPCG(h.load.seed, heraldID))
	defer func() {
		own.close()
		for _, e := range h.at {
			e.close()
		}
	}()
	for {
		select {
		case <-h.load.stopped:
			return
		case <-time.After(publishEvery):
		}
		for _, e := range h.at {
			e.subscribe(h.load.cluster)
		}
		doors := h.load.cluster.doors(byRedis)
		if len(doors) == 0 {
			continue
		}
		h.publish(own, doors[random.IntN(len(doors))])
	}
}

// publish sends the next message, and looks who has heard it.
func (h *herald) publish(own *caller, door *Host) {
	c := h.load.cluster
	began := c.Elapsed()
	h.said++
	conn, _, err := own.open(door, redisPort)
	if err == nil {
		_, err = conn.Write(resp.AppendCommand(nil, "PUBLISH", channel, strconv.Itoa(h.said)))
	}
	var told resp.Value
	if err == nil {
		told, err = resp.NewReplyReader(conn, resp.ReplyLimits{}).Read()
	}
	if err != nil {
		own.drop()
	}
	c.history.noteMessage("sent")
	time.Sleep(heardWithin)
	well := err == nil && c.well(began)
	for _, e := range h.at {
		since := e.subscribed
		e.listen(h.said)
		if !well || since == 0 || began-since <= served || e.subscribed != since || !c.well(began) || !sees(door, e.door) {
			continue
		}
		c.history.noteMessage("due")
		if _, heard := e.heard[h.said]; !heard {
			c.history.Break("message %d, published at %s at %v and answered %d, is not heard at %s, where it was subscribed to since %v",
				h.said, door.Name, began, told.Int, e.door.Name, since)
		}
	}
}

// sees says whether a node counts another one as taking part. One whose peer port
// nothing reaches does not, though it reaches the others.
func sees(from, to *Host) bool {
	a, _ := from.Node()
	b, _ := to.Node()
	return from == to || a != nil && b != nil && a.View().Up(b.ID())
}

// well says whether nothing has been done to the cluster since some seconds
// before a time, and all of it is connected.
func (c *Cluster) well(at time.Duration) bool {
	return at-time.Duration(c.changed.Load()) >= served && c.whole() && len(c.Running()) > 1
}

// subscribe sees to it that there is a subscription.
func (e *subscriber) subscribe(c *Cluster) {
	if e.subscribed > 0 {
		if _, p := e.door.Node(); p == e.server && !e.kept.Gone() {
			return
		}
		e.unsubscribed()
	}
	doors := c.doors(byRedis)
	if len(doors) == 0 {
		return
	}
	e.door = doors[e.random.IntN(len(doors))]
	conn, _, err := e.open(e.door, redisPort)
	if err == nil {
		_, err = conn.Write(resp.AppendCommand(nil, "SUBSCRIBE", channel))
	}
	if err == nil {
		e.replies = resp.NewReplyReader(conn, resp.ReplyLimits{})
		_, err = e.replies.Read()
	}
	if err != nil {
		e.drop()
		return
	}
	e.subscribed, e.heard = max(c.Elapsed(), 1), make(map[int]struct{})
}

func (e *subscriber) unsubscribed() {
	e.drop()
	e.subscribed = 0
}

// listen takes in what has come. Nothing above said has been sent.
func (e *subscriber) listen(said int) {
	if e.subscribed == 0 {
		return
	}
	for {
		_ = e.kept.SetDeadline(time.Now().Add(time.Millisecond)) // fails on one that is closed, as the read does
		v, err := e.replies.Read()
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				e.unsubscribed()
			}
			return
		}
		n, err := 0, error(nil)
		if len(v.Elems) == 3 && v.Elems[0].Text == "message" {
			n, err = strconv.Atoi(v.Elems[2].Text)
		}
		_, again := e.heard[n]
		switch {
		case err != nil || n < 1 || n > said || v.Elems[1].Text != channel:
			e.history.Break("what is no message of these came to a subscriber: %.300s", strings.TrimSpace(v.Text))
		case again:
			e.history.Break("message %d came twice to a subscriber at %s", n, e.door.Name)
		}
		e.heard[n] = struct{}{}
		e.history.noteMessage("heard")
	}
}
