package fields

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// one is the single problem of the field F; none is what a check gives for a
// value that it accepts.
func one(value, reason string) []Problem { return []Problem{{"F", value, reason}} }

var none []Problem

func TestChecks(t *testing.T) {
	t.Parallel()
	refuse := func(string) error { return errors.New("must be better") }
	accept := func(string) error { return nil }
	for name, c := range map[string]struct{ got, want []Problem }{
		"Check, ok":           {Check(true, "F", "a", "must be b"), none},
		"Check, a text":       {Check(false, "F", "a\"\n", "must be b"), one(`"a\"\n"`, "must be b")},
		"Check, an empty one": {Check(false, "F", "", "must be b"), one(`""`, "must be b")},
		"Check, a duration":   {Check(false, "F", time.Minute, "must be 1s"), one(`"1m0s"`, "must be 1s")},
		"Hidden, ok":          {Hidden(true, "F", "has 3 bytes"), none},
		"Hidden":              {Hidden(false, "F", "has 3 bytes"), one("", "has 3 bytes")},
		"By, accepted":        {By("F", "a", accept), none},
		"By, refused":         {By("F", "a", refuse), one(`"a"`, "must be better")},
		"If it counts":        {If(true, one(`"a"`, "must be b")), one(`"a"`, "must be b")},
		"If it does not":      {If(false, one(`"a"`, "must be b")), none},

		"Either, one":       {Either("F", "cat", "cat", "dog"), none},
		"Either, the other": {Either("F", "dog", "cat", "dog"), none},
		"Either, neither":   {Either("F", "cow", "cat", "dog"), one(`"cow"`, "must be cat or dog")},
		"Either, nothing":   {Either("F", "", "cat", "dog"), one(`""`, "must be cat or dog")},

		"Range, below":   {Range("F", 1, 2, 4), one(`"1"`, "must be 2 to 4")},
		"Range, lowest":  {Range("F", 2, 2, 4), none},
		"Range, highest": {Range("F", 4, 2, 4), none},
		"Range, above":   {Range("F", 5, 2, 4), one(`"5"`, "must be 2 to 4")},
		"Range, NaN":     {Range("F", math.NaN(), 2, 4), one(`"NaN"`, "must be 2 to 4")},

		"AtLeast, below":  {AtLeast("F", time.Second-1, time.Second), one(`"999.999999ms"`, "must be at least 1s")},
		"AtLeast, lowest": {AtLeast("F", time.Second, time.Second), none},
		"AtLeast, above":  {AtLeast("F", time.Hour, time.Second), none},
		"AtLeast, NaN":    {AtLeast("F", math.NaN(), 2), one(`"NaN"`, "must be at least 2")},

		"NotNegative, -1": {NotNegative("F", -1), one(`"-1"`, "must not be negative")},
		"NotNegative, 0":  {NotNegative("F", 0), none},
		"NotNegative, 1":  {NotNegative("F", time.Duration(1)), none},

		"MaxBytes, as many":  {MaxBytes("F", "abc", 3), none},
		"MaxBytes, one more": {MaxBytes("F", "abcd", 3), one(`"abcd"`, "must be 3 bytes at most")},
		"MaxBytes, no runes": {MaxBytes("F", "éé", 3), one(`"éé"`, "must be 3 bytes at most")},

		"Token":       {Token("F", "X-User", "header"), none},
		"Token, none": {Token("F", "a b", "cookie"), one(`"a b"`, "must be a cookie name: letters, digits and !#$%&'*+-.^_`|~")},
	} {
		require.Equal(t, c.want, c.got, name)
	}
}

func TestEachChecksEveryElement(t *testing.T) {
	t.Parallel()
	positive := func(field string, n int) []Problem { return AtLeast(field, n, 1) }
	for _, c := range []struct {
		list []int
		want []Problem
	}{
		{nil, none},
		{[]int{1, 2}, none},
		{[]int{1, 0, 2}, one(`"0"`, "must be at least 1")},
		{[]int{0, 1, -1}, []Problem{{"F", `"0"`, "must be at least 1"}, {"F", `"-1"`, "must be at least 1"}}},
	} {
		require.Equal(t, c.want, Each("F", c.list, positive), "%v", c.list)
	}
}

// What is told of a key is its length alone.
func TestAESKey(t *testing.T) {
	t.Parallel()
	for n, want := range map[int][]Problem{
		0:  one("", "a key has 0 bytes, accepted are 16, 24 or 32"),
		15: one("", "a key has 15 bytes, accepted are 16, 24 or 32"),
		16: none,
		17: one("", "a key has 17 bytes, accepted are 16, 24 or 32"),
		24: none,
		32: none,
		64: one("", "a key has 64 bytes, accepted are 16, 24 or 32"),
	} {
		require.Equal(t, want, AESKey("F", make([]byte, n)), n)
	}
}

func TestIsToken(t *testing.T) {
	t.Parallel()
	require.False(t, IsToken(""))
	const accepted = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + "!#$%&'*+-.^_`|~"
	require.True(t, IsToken(accepted))
	for b := range 256 {
		c := string([]byte{byte(b)})
		want := strings.Contains(accepted, c)
		require.Equal(t, want, IsToken(c), "%q", c)
		require.Equal(t, want, IsToken("a"+c), "%q at the end", c)
		require.Equal(t, want, IsToken(c+"a"), "%q at the start", c)
	}
}

func TestHost(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "a", "node-1.example.org", "10.0.0.1", "fe80::1%eth0", strings.Repeat("h", 253)} {
		require.Empty(t, Host("F", good), good)
	}
	for _, bad := range []string{"http://a", "a/b", "a b", "[::1", "::1]", strings.Repeat("h", 254)} {
		require.Equal(t, one(`"`+bad+`"`, "must be a host name or an IP address, without a port"), Host("F", bad), bad)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	const form, port, long = "must be host:port, such as 127.0.0.1:8080", "the port must be 0 to 65535", "the host must be 253 bytes at most"
	for address, reason := range map[string]string{
		"127.0.0.1:8080":                "",
		"[::1]:0":                       "",
		"a.example:65535":               "",
		":80":                           "",
		"localhost:http":                "",
		strings.Repeat("h", 253) + ":1": "",
		"":                              form,
		"8080":                          form,
		"localhost":                     form,
		"::1:80":                        form,
		"a:1:2":                         form,
		"a:65536":                       port,
		"a:-1":                          port,
		"a:x y":                         port,
		strings.Repeat("h", 254) + ":1": long,
	} {
		want := none
		if reason != "" {
			want = one(`"`+address+`"`, reason)
		}
		require.Equal(t, want, Address("F", address), address)
	}
}

func TestIsLoopback(t *testing.T) {
	t.Parallel()
	for _, closed := range []string{"127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "localhost:0", "[::ffff:127.0.0.1]:0"} {
		require.True(t, IsLoopback(closed), closed)
	}
	for _, open := range []string{"", "127.0.0.1", "localhost", ":0", "0.0.0.0:0", "[::]:0", "10.0.0.1:0", "[::ffff:10.0.0.1]:0", "[fe80::1%eth0]:0", "example.org:0"} {
		require.False(t, IsLoopback(open), open)
	}
}
