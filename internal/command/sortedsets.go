package command

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// scored is a member of a sorted set.
type scored struct {
	name  string
	score float64
}

// scoreText is a score as it is stored: in its shortest form.
func scoreText(f float64) string {
	if math.IsInf(f, 0) {
		return map[bool]string{true: "inf", false: "-inf"}[f > 0]
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// scoreOf reads a stored score.
func scoreOf(text string) float64 {
	f, _ := parseFloat(session.ValueBytes(text)) // what a merge brought from a hash counts as 0
	return f
}

// compare puts members in order of score, then of name.
func (m scored) compare(o scored) int {
	if c := cmp.Compare(m.score, o.score); c != 0 {
		return c
	}
	return strings.Compare(m.name, o.name)
}

// ranked returns the members of a sorted set in order.
func (c *call) ranked(rec *session.Draft) []scored {
	all := make([]scored, 0, count(rec))
	for name, value := range entries(rec) {
		all = append(all, scored{name, scoreOf(value)})
	}
	c.Spend(4 * len(all) * bits.Len(uint(len(all)))) // of the sort
	slices.SortFunc(all, scored.compare)
	return all
}

// zaddOptions are those of ZADD.
type zaddOptions struct{ nx, xx, gt, lt, ch, incr bool }

// readZaddOptions returns them and the pairs that follow.
func readZaddOptions(args [][]byte) (o zaddOptions, pairs [][]byte, err error) {
	words := map[string]*bool{"nx": &o.nx, "xx": &o.xx, "gt": &o.gt, "lt": &o.lt, "ch": &o.ch, "incr": &o.incr}
	i := 0
next:
	for ; i < len(args); i++ {
		for word, set := range words {
			if is(args[i], word) {
				*set = true
				continue next
			}
		}
		break
	}
	pairs = args[i:]
	switch {
	case len(pairs) == 0 || len(pairs)%2 != 0:
		err = errSyntax
	case o.nx && o.xx:
		err = failure("ERR XX and NX options at the same time are not compatible")
	case o.gt && (o.nx || o.lt) || o.lt && o.nx:
		err = failure("ERR GT, LT, and/or NX options at the same time are not compatible")
	case o.incr && len(pairs) > 2:
		err = failure("ERR INCR option supports a single increment-element pair")
	}
	return o, pairs, err
}

func (c *call) zadd() error {
	o, pairs, err := readZaddOptions(c.args[2:])
	if err != nil {
		return err
	}
	return c.addScores(o, pairs)
}

func (c *call) zincrby() error {
	o, pairs, err := readZaddOptions(c.args[2:]) // Redis reads them here too
	if err != nil {
		return err
	}
	o.incr = true
	return c.addScores(o, pairs)
}

// addScores is ZADD and ZINCRBY.
func (c *call) addScores(o zaddOptions, pairs [][]byte) error {
	scores := make([]float64, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		f, ok := parseFloat(view(pairs[i]))
		if !ok {
			return errFloat
		}
		scores = append(scores, f)
	}
	rec, err := c.find(c.key(), aSortedSet)
	if err != nil {
		return err
	}
	given := make(map[string]float64) // members that earlier pairs have set
	var added, changed int64
	var last float64
	done := false
	for i, score := range scores {
		if c.stops(i) {
			return errLate
		}
		member := pairs[2*i+1]
		text, there := c.lookup(rec, member)
		old, again := given[string(member)]
		if !again && there {
			old = scoreOf(text)
		}
		there = there || again
		if o.nx && there || o.xx && !there {
			continue
		}
		if o.incr && there {
			score += old
			if math.IsNaN(score) {
				return failure("ERR resulting score is not a number (NaN)")
			}
		}
		if there && (o.gt && score <= old || o.lt && score >= old) {
			continue
		}
		last, done = score, true
		switch {
		case !there:
			added++
		case score == old:
			continue
		default:
			changed++
		}
		given[string(member)] = score
		c.field(c.name(member), scoreText(score), false)
	}
	if err := c.join(rec, aSortedSet); err != nil {
		return err
	}
	if len(given) > 0 {
		c.event("zadd", c.key())
	}
	switch {
	case o.incr && done:
		c.Double(last)
	case o.incr:
		c.Null()
	case o.ch:
		c.Int(added + changed)
	default:
		c.Int(added)
	}
	return nil
}

func (c *call) zrem() error { return c.drop(aSortedSet, "zrem") }

func (c *call) zscore() error {
	rec, err := c.find(c.key(), aSortedSet)
	if err != nil {
		return err
	}
	c.score(rec, c.args[2])
	return nil
}

func (c *call) zmscore() error {
	rec, err := c.find(c.key(), aSortedSet)
	if err != nil {
		return err
	}
	c.Array(len(c.args) - 2)
	for i, member := range c.args[2:] {
		if c.stops(i) {
			return errLate
		}
		c.score(rec, member)
	}
	return nil
}

// score answers with a member's score, or with its absence.
func (c *call) score(rec *session.Draft, member []byte) {
	if text, ok := c.lookup(rec, member); ok {
		c.Double(scoreOf(text))
		return
	}
	c.Null()
}

func (c *call) zcard() error {
	rec, err := c.find(c.key(), aSortedSet)
	if err != nil {
		return err
	}
	return c.num(int64(count(rec)))
}

func (c *call) zrank() error    { return c.rank(false) }
func (c *call) zrevrank() error { return c.rank(true) }

func (c *call) rank(reverse bool) error {
	rec, err := c.find(c.key(), aSortedSet)
	if err != nil {
		return err
	}
	text, ok := c.lookup(rec, c.args[2])
	if !ok {
		c.Null()
		return nil
	}
	wanted := scored{view(c.args[2]), scoreOf(text)}
	before, all := 0, 0
	for name, value := range entries(rec) {
		all++
		if (scored{name, scoreOf(value)}).compare(wanted) < 0 {
			before++
		}
	}
	c.Spend(4 * all) // of the scores that were read
	if reverse {
		before = all - 1 - before
	}
	return c.num(int64(before))
}

func (c *call) zscan() error {
	return c.scan(aSortedSet, func(value string) {
		c.B = appendScore(c, value)
	})
}

// appendScore appends a score as ZSCAN shows it, a string in both protocols.
func appendScore(c *call, value string) []byte {
	two := resp.Reply{B: c.B, Proto: 2}
	two.Double(scoreOf(value))
	return two.B
}

// limits is a range of scores.
type limits struct {
	min, max         float64
	minOpen, maxOpen bool // the bound itself is outside
}

func (l limits) hold(score float64) bool {
	return (score > l.min || score == l.min && !l.minOpen) && (score < l.max || score == l.max && !l.maxOpen)
}

func readLimits(min, max []byte) (l limits, err error) {
	var ok1, ok2 bool
	l.min, l.minOpen, ok1 = readLimit(min)
	l.max, l.maxOpen, ok2 = readLimit(max)
	if !ok1 || !ok2 {
		err = errNotFloat
	}
	return l, err
}

func readLimit(arg []byte) (f float64, open, ok bool) {
	if len(arg) > 0 && arg[0] == '(' {
		open, arg = true, arg[1:]
	}
	if len(arg) == 0 { // which strtod takes for 0
		return 0, open, true
	}
	f, ok = parseFloat(view(arg))
	return f, open, ok
}

// rangeOptions are those of ZRANGE and of its older forms.
type rangeOptions struct {
	byScore, reverse, scores, limit bool
	offset, count                   int64
}

func readRangeOptions(args [][]byte, accepted ...string) (o rangeOptions, err error) {
	o.count = -1
	for i := 0; i < len(args); i++ {
		word := ""
		for _, a := range accepted {
			if is(args[i], a) {
				word = a
			}
		}
		switch word {
		case "withscores":
			o.scores = true
		case "byscore":
			if o.byScore {
				return o, errSyntax
			}
			o.byScore = true
		case "rev":
			if o.reverse {
				return o, errSyntax
			}
			o.reverse = true
		case "limit":
			if i+2 >= len(args) {
				return o, errSyntax
			}
			var ok1, ok2 bool
			o.offset, ok1 = resp.ParseInt(args[i+1])
			o.count, ok2 = resp.ParseInt(args[i+2])
			if !ok1 || !ok2 {
				return o, errInteger
			}
			o.limit = true
			i += 2
		default:
			return o, errSyntax
		}
	}
	return o, nil
}

func (c *call) zrange() error {
	o, err := readRangeOptions(c.args[4:], "withscores", "byscore", "rev", "limit")
	if err != nil {
		return err
	}
	if o.limit && !o.byScore {
		return failure("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	}
	return c.answerRange(o)
}

func (c *call) zrevrange() error {
	o, err := readRangeOptions(c.args[4:], "withscores")
	if err != nil {
		return err
	}
	o.reverse = true
	return c.answerRange(o)
}

func (c *call) zrangebyscore() error    { return c.oldRange(false) }
func (c *call) zrevrangebyscore() error { return c.oldRange(true) }

func (c *call) oldRange(reverse bool) error {
	o, err := readRangeOptions(c.args[4:], "withscores", "limit")
	if err != nil {
		return err
	}
	o.byScore, o.reverse = true, reverse
	return c.answerRange(o)
}

// answerRange answers with the members between arguments 2 and 3.
func (c *call) answerRange(o rangeOptions) error {
	found, err := c.selected(o)
	if err != nil {
		return err
	}
	switch {
	case !o.scores:
		c.Array(len(found))
	case c.Proto == 3:
		c.Array(len(found))
	default:
		c.Array(2 * len(found))
	}
	for _, m := range found {
		if o.scores && c.Proto == 3 {
			c.Array(2)
		}
		c.BulkString(m.name)
		if o.scores {
			c.Double(m.score)
		}
	}
	return nil
}

func (c *call) selected(o rangeOptions) ([]scored, error) {
	from, to := c.args[2], c.args[3]
	var l limits
	var first, last int64
	if o.byScore {
		if o.reverse {
			from, to = to, from
		}
		var err error
		if l, err = readLimits(from, to); err != nil {
			return nil, err
		}
	} else {
		var ok1, ok2 bool
		first, ok1 = resp.ParseInt(from)
		last, ok2 = resp.ParseInt(to)
		if !ok1 || !ok2 {
			return nil, errInteger
		}
	}
	rec, err := c.find(c.key(), aSortedSet)
	if err != nil {
		return nil, err
	}
	all := c.ranked(rec)
	if o.byScore {
		all = slices.DeleteFunc(all, func(m scored) bool { return !l.hold(m.score) })
	}
	if o.reverse {
		slices.Reverse(all)
	}
	if !o.byScore {
		first, last, ok := span(first, last, len(all))
		if !ok {
			return nil, nil
		}
		return all[first : last+1], nil
	}
	if o.offset < 0 || o.offset >= int64(len(all)) {
		return nil, nil
	}
	all = all[o.offset:]
	if o.count >= 0 {
		all = all[:min(o.count, int64(len(all)))]
	}
	return all, nil
}

// findWithin is find for commands that take a lowest and a highest score behind
// the key.
func (c *call) findWithin() (rec *session.Draft, l limits, err error) {
	if l, err = readLimits(c.args[2], c.args[3]); err != nil {
		return nil, l, err
	}
	rec, err = c.find(c.key(), aSortedSet)
	return rec, l, err
}

func (c *call) zcount() error {
	rec, l, err := c.findWithin()
	if err != nil {
		return err
	}
	n := int64(0)
	for _, value := range entries(rec) {
		if l.hold(scoreOf(value)) {
			n++
		}
	}
	return c.num(n)
}

func (c *call) zremrangebyscore() error {
	rec, l, err := c.findWithin()
	if err != nil {
		return err
	}
	for name, value := range entries(rec) {
		if l.hold(scoreOf(value)) {
			c.field(session.EscapeName(name), "", true)
		}
	}
	n := int64(len(c.fields))
	if err := c.without(rec, "zremrangebyscore"); err != nil {
		return err
	}
	return c.num(n)
}
