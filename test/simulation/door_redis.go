package simulation

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// redisPort is where nodes speak the Redis protocol.
const redisPort = 8082

// refuseRevive is longer than a run, so that a save without NX never brings
// back what was deleted, as through the other doors.
const refuseRevive = time.Hour

// redisClient speaks the Redis protocol, one operation at a time. Sessions are
// hashes and locks strings. It asks with WAIT how many copies have a write, for
// the answer to a write does not say.
type redisClient struct {
	*caller
	copies  int // of each session, the owner's included
	replies *resp.ReplyReader
	watched string // the key that this connection watches
}

// releaseLock is the script by which clients give a lock back that is theirs.
const releaseLock = `if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`

// watchedVersion stands for the version that the connection watches, which the
// protocol does not tell.
const watchedVersion session.Stamp = 1

func (c *redisClient) call(h *Host, op *session.Op, ack session.Ack, value int) answer {
	conn, fresh, err := c.open(h, redisPort)
	if err != nil {
		return refuse(err)
	}
	if fresh {
		c.replies, c.watched = resp.NewReplyReader(conn, resp.ReplyLimits{}), ""
	}
	exec := op.Kind == session.Put && op.IfVersion != 0
	if exec && c.watched != op.Key { // it was watched on a connection that has ended
		return answer{Told: Told{Outcome: Refused, Err: "not watched any more", ReachUnsaid: true}, answered: true}
	}
	commands := c.commandsOf(op, value)
	if commands == nil {
		return c.riddle(op, "there is no command for this")
	}
	if c.watched != "" && !exec {
		commands = append([][]string{{"UNWATCH"}}, commands...)
	}
	at := len(commands) - 1 // which answers
	if wants := c.wants(op.Kind, ack); wants > 0 {
		commands = append(commands, []string{"WAIT", strconv.Itoa(wants), "2000"})
	}
	var sent []byte
	for _, command := range commands {
		sent = resp.AppendCommand(sent, command...)
	}
	if _, err := conn.Write(sent); err != nil {
		return c.broke(err)
	}
	var said []resp.Value
	for range commands {
		v, err := c.replies.Read()
		if err != nil && len(said) <= at {
			return c.broke(err)
		}
		if err != nil { // the answer is there, and how many copies have it is not
			c.drop()
			break
		}
		said = append(said, v)
	}
	c.watched = ""
	a, known := toldByRedis(op, said[:at+1])
	if !known {
		return c.riddle(op, fmt.Sprintf("%+v", said))
	}
	a.moved, a.ReachUnsaid = op.NewKey, true
	if len(said) > at+1 && said[at+1].Kind == resp.Int && a.Outcome == OK {
		a.Acked = int(said[at+1].Int)
	}
	if a.Outcome == OK && op.Kind.Writes() {
		a.Unconfirmed = a.Acked < c.confirms(op.Kind)
	}
	if op.Kind == session.Get && strings.HasPrefix(op.Key, swaps) && !said[at-1].IsError() {
		c.watched, a.version = op.Key, watchedVersion
	}
	return a
}

// wants is for how many copies a call waits.
func (c *redisClient) wants(kind session.Kind, ack session.Ack) int {
	switch {
	case !kind.Writes():
		return 0
	case kind == session.Delete || kind == session.Rotate:
		return c.copies - 1
	default:
		return ackOf(ack).Copies(c.copies - 1)
	}
}

// confirms is how many copies must have a write of which nothing can be undone.
// A logout without any may be one whose copy was out of reach.
func (c *redisClient) confirms(kind session.Kind) int {
	if kind == session.Delete || kind == session.Rotate {
		return max(1, c.copies-1)
	}
	return 1
}

// commandsOf is an operation as clients of Redis write it. The last command but
// WAIT is the one that is answered.
func (c *redisClient) commandsOf(op *session.Op, value int) (commands [][]string) {
	key, ttl := op.Key, strconv.FormatInt(op.TTL.Milliseconds(), 10)
	set := []string{"HSET", key}
	for _, f := range op.Fields {
		set = append(set, f.Name, f.Value)
	}
	switch kind := op.Kind; {
	case kind == session.Get && lockKey(key):
		return [][]string{{"GET", key}}
	case kind == session.Get && strings.HasPrefix(key, swaps):
		return [][]string{{"WATCH", key}, {"HGETALL", key}}
	case kind == session.Get:
		return [][]string{{"HGETALL", key}}
	case kind == session.Put && lockKey(key):
		return [][]string{{"SET", key, strconv.Itoa(value), "NX", "PX", ttl}}
	case kind == session.Put && op.IfVersion != 0:
		return [][]string{{"MULTI"}, set, {"EXEC"}}
	case kind == session.Put && op.Create && op.TTL > 0:
		return [][]string{{"MULTI"}, {"HSETNX", key, op.Fields[0].Name, op.Fields[0].Value}, {"PEXPIRE", key, ttl}, {"EXEC"}}
	case kind == session.Put && op.Create:
		return [][]string{{"HSETNX", key, op.Fields[0].Name, op.Fields[0].Value}}
	case kind == session.Put, kind == session.Patch:
		return [][]string{set}
	case kind == session.Touch && op.TTL > 0:
		return [][]string{{"PEXPIRE", key, ttl}}
	case kind == session.Touch:
		return [][]string{{"EXPIRE", key, "1800"}}
	case kind == session.Delete && op.IfVersion != 0:
		return [][]string{{"EVAL", releaseLock, "1", key, strconv.Itoa(value)}}
	case kind == session.Delete:
		return [][]string{{"DEL", key}}
	case kind == session.Rotate:
		return [][]string{{"RENAME", key, op.NewKey}}
	}
	return nil
}

// means implements client: a hash is written with HSET whether it exists or
// not, and whether or not all of it is meant. To a hash that was deleted
// nothing writes without asking, see refuseRevive.
func (c *redisClient) means(op *session.Op) *session.Op {
	m := *op
	if m.Kind == session.Patch {
		m.Kind = session.Put
	}
	m.Exists, m.Revive = false, false
	return &m
}

// toldByRedis is what the answers to an operation's commands say. It is not
// known of those that should not be given.
//
// The protocol does not say who has answered, whether that one could reach the
// others, nor whether a session was deleted or never was. A DEL that finds
// nothing says 0, with a tombstone or without.
func toldByRedis(op *session.Op, said []resp.Value) (a answer, known bool) {
	for _, v := range said {
		if v.IsError() {
			return toldByError(v.Text)
		}
	}
	v := said[len(said)-1]
	a.Outcome, a.answered = OK, true
	if v.IsNull() || v.Kind == resp.Int && v.Int == 0 {
		switch { // 0 fields are new, where HSET is answered
		case op.Kind == session.Get, op.Kind == session.Touch:
			a.Outcome = Missing
		case op.IfVersion != 0, op.Create:
			a.Outcome = Refused
		case op.Kind == session.Delete:
			a.Nothing = true
		}
		return a, v.Kind == resp.Int || op.Kind == session.Get || op.IfVersion != 0 || op.Create
	}
	if op.Kind == session.Get {
		return a, a.readHash(v, lockKey(op.Key))
	}
	if v.Kind == resp.Array { // of EXEC
		for _, e := range v.Elems {
			if e.IsError() {
				return toldByError(e.Text)
			}
		}
		if op.Create && v.Elems[0].Int == 0 {
			a.Outcome = Refused
		}
	}
	return a, true
}

func (a *answer) readHash(v resp.Value, isString bool) (ok bool) {
	a.values = make(map[string]string)
	if isString {
		a.values[valueField] = v.Text
		return v.Kind == resp.Bulk
	}
	if len(v.Elems) == 0 {
		a.Outcome = Missing
	}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		a.values[v.Elems[i].Text] = v.Elems[i+1].Text
	}
	return v.Kind == resp.Array
}

// toldByError is what an error says, by its beginning, as clients go by it, or
// where that is ERR by its text.
func toldByError(text string) (a answer, known bool) {
	a.Err = text
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case strings.HasPrefix(text, "TRYAGAIN"), strings.HasPrefix(text, "LOADING"):
		a.Outcome, a.answered = Refused, has("others wrote") || has("written by others")
		a.Degraded = has("no member that held the partition can be reached")
	case strings.HasPrefix(text, "CLUSTERDOWN"), strings.HasPrefix(text, "MOVED"):
		a.Outcome = Refused
	case strings.HasPrefix(text, "OOM"):
		a.Outcome, a.answered = Refused, true
	case has("was deleted a moment ago"):
		a.Outcome, a.answered = Deleted, true
	case has("no such key"):
		a.Outcome, a.answered = Missing, true
	case has("may or may not have been executed"):
		a.Outcome = Unknown
	default:
		return a, false
	}
	return a, true
}
