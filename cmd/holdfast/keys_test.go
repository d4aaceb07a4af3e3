package main

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseKeys(t *testing.T) {
	key := func(n int, fill byte) []byte { return []byte(strings.Repeat(string(rune(fill)), n)) }
	file := "# gossip keys, the newest first\n\n" +
		base64.StdEncoding.EncodeToString(key(32, 'a')) + "\r\n" +
		"  " + hex.EncodeToString(key(16, 'b')) + "  \n" +
		strings.ToUpper(hex.EncodeToString(key(24, 'k'))) + "\n" +
		base64.RawURLEncoding.EncodeToString(key(16, 0x7f)) // and no end of line
	keys, err := parseKeys([]byte(file))
	require.NoError(t, err)
	require.Equal(t, [][]byte{key(32, 'a'), key(16, 'b'), key(24, 'k'), key(16, 0x7f)}, keys)
}

func TestParseKeysRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for text, says := range map[string]string{
		"":                                   "no key",
		"# only\n\n":                         "no key",
		good + "\nsecret-password":           "line 2",
		hex.EncodeToString(make([]byte, 20)): "line 1",
		base64.StdEncoding.EncodeToString(make([]byte, 33)):      "line 1",
		"\n\n" + good + " " + good:                               "line 3",
		strings.Repeat(hex.EncodeToString(make([]byte, 32)), 40): "16, 24 or 32 bytes",
	} {
		_, err := parseKeys([]byte(text))
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret-password", "what may be a secret is not printed")
	}
}

func TestKeysRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.SampledFrom([]int{16, 24, 32}).Draw(t, "length")
		key := rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "key")
		for _, text := range []string{hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key)} {
			keys, err := parseKeys([]byte(text))
			if err != nil || len(keys) != 1 || string(keys[0]) != string(key) {
				t.Fatalf("%q gives %x, %v", text, keys, err)
			}
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("# comment\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"))
	f.Add([]byte(hex.EncodeToString(make([]byte, 16))))
	f.Add([]byte("\x00\xff\n\r="))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if err == nil && len(keys) == 0 {
			t.Fatal("neither keys nor an error")
		}
		for _, key := range keys {
			if !validKey(key) {
				t.Fatalf("a key of %d bytes", len(key))
			}
		}
	})
}

func TestPrivateFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(mode os.FileMode, text string) {
		t.Helper()
		_ = os.Remove(path) // the mode counts for new files only
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	write(0o600, "0123456789abcdef\n")
	secret, warning, err := readSecret(path)
	require.NoError(t, err)
	require.Empty(t, warning)
	require.Equal(t, "0123456789abcdef", string(secret))

	write(0o640, "0123456789abcdef")
	_, warning, err = readSecret(path)
	require.NoError(t, err)
	require.Empty(t, warning, "a group may read it")

	write(0o644, "0123456789abcdef")
	_, warning, err = readSecret(path)
	require.NoError(t, err)
	require.Contains(t, warning, "everybody")
	require.Contains(t, warning, path)
	require.NotContains(t, warning, "0123456789abcdef")

	write(0o600, "too short      \n")
	_, _, err = readSecret(path)
	require.ErrorContains(t, err, "at least 16")

	write(0o600, strings.Repeat("x", maxKeyFile+1))
	_, _, err = readGossipKeys(path)
	require.ErrorContains(t, err, "-gossip-key-file")
	_, _, err = readGossipKeys(t.TempDir())
	require.ErrorContains(t, err, "-gossip-key-file")
}

func TestReadPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte(" open sesame \r\n# not this\n"), 0o600))
	password, warning, err := readPassword(path)
	require.NoError(t, err)
	require.Empty(t, warning)
	require.Equal(t, "open sesame", password)

	require.NoError(t, os.WriteFile(path, []byte("\nsecond"), 0o600))
	_, _, err = readPassword(path)
	require.ErrorContains(t, err, "first line is empty")
	require.NotContains(t, err.Error(), "second")
}
