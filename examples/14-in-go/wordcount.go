// Counts words, as a worker of a job with the stages "map" and "reduce": Disco's worker protocol in
// Go. Records are pickles in chunks, both those that it writes and those that it reads again.
//
// Built by "go build wordcount.go"; it needs nothing but the standard library.
package main

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"regexp"
	"strings"
)

const labels = 3

var (
	answers = bufio.NewReader(os.Stdin)
	words   = regexp.MustCompile(`[a-z']+`)
)

type input struct {
	id    int
	label any
	urls  []string
}

// ask sends a message and returns the answer's name and payload.
func ask(name string, payload any) (string, json.RawMessage) {
	say(name, payload)
	var answer string
	var length int
	if _, err := fmt.Fscanf(answers, "%s %d ", &answer, &length); err != nil {
		panic(err)
	}
	text := make([]byte, length+1)
	if _, err := io.ReadFull(answers, text); err != nil {
		panic(err)
	}
	return answer, text[:length]
}

func say(name string, payload any) {
	text, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stderr, "%s %d %s\n", name, len(text), text)
}

// inputs returns those that are not known yet, and whether there will be more.
func inputs(known []int) ([]input, bool) {
	var payload any = ""
	if len(known) > 0 {
		payload = []any{"exclude", known}
	}
	_, text := ask("INPUT", payload)
	var answer [2]json.RawMessage
	var flag string
	var rows [][4]json.RawMessage
	must(json.Unmarshal(text, &answer))
	must(json.Unmarshal(answer[0], &flag))
	must(json.Unmarshal(answer[1], &rows))
	var found []input
	for _, row := range rows {
		var one input
		var replicas [][2]any
		must(json.Unmarshal(row[0], &one.id))
		must(json.Unmarshal(row[2], &one.label))
		must(json.Unmarshal(row[3], &replicas))
		for _, replica := range replicas {
			one.urls = append(one.urls, replica[1].(string))
		}
		found = append(found, one)
	}
	return found, flag == "more"
}

// open returns the first replica that can be opened, and tells of those that cannot.
func open(one input) *os.File {
	for id, url := range one.urls {
		file, err := os.Open(strings.TrimPrefix(url, "file://"))
		if err == nil {
			return file
		}
		if name, _ := ask("INPUT_ERR", []any{one.id, []int{id}}); name == "FAIL" {
			break
		}
	}
	stop("ERROR", fmt.Sprintf("input %d cannot be opened", one.id))
	return nil
}

// stop says how the task ended, and waits to be ended.
func stop(name string, payload any) {
	say(name, payload)
	io.Copy(io.Discard, answers)
}

func must(err error) {
	if err != nil {
		stop("FATAL", err.Error())
	}
}

// --- records ------------------------------------------------------------------------------------

// counted reads the (word, count) records of a file of chunks.
func counted(file io.Reader, add func(string, int64)) {
	source := bufio.NewReader(file)
	for {
		var head struct {
			Version, Compressed uint8
			Checksum            uint32
			Length              uint64
		}
		err := binary.Read(source, binary.LittleEndian, &head)
		if errors.Is(err, io.EOF) {
			return
		}
		must(err)
		opened, err := zlib.NewReader(io.LimitReader(source, int64(head.Length)))
		must(err)
		data, err := io.ReadAll(opened)
		must(err)
		if crc32.ChecksumIEEE(data) != head.Checksum {
			must(errors.New("a chunk is damaged"))
		}
		for len(data) > 0 {
			var record []any
			record, data = unpickled(data)
			add(record[0].(string), record[1].(int64))
		}
	}
}

// unpickled returns the first record in data, a pair of text and number, and what follows it.
func unpickled(data []byte) ([]any, []byte) {
	var stack []any
	at := 0
	take := func(size int) []byte {
		at += size
		return data[at-size : at]
	}
	for {
		switch code := take(1)[0]; code {
		case '(': // a mark: there are no others
		case 'X':
			length := binary.LittleEndian.Uint32(take(4))
			stack = append(stack, string(take(int(length))))
		case 'K':
			stack = append(stack, int64(take(1)[0]))
		case 'M':
			stack = append(stack, int64(binary.LittleEndian.Uint16(take(2))))
		case 'J':
			stack = append(stack, int64(int32(binary.LittleEndian.Uint32(take(4)))))
		case 'q':
			take(1)
		case 't':
		case '.':
			return stack, data[at:]
		default:
			must(fmt.Errorf("a pickle has the code %q", code))
		}
	}
}

// chunk returns records as a file has them.
func chunk(counts map[string]int64) []byte {
	var pickles bytes.Buffer
	for word, count := range counts {
		pickles.WriteString("(X")
		binary.Write(&pickles, binary.LittleEndian, uint32(len(word)))
		pickles.WriteString(word)
		pickles.WriteString("J")
		binary.Write(&pickles, binary.LittleEndian, uint32(count))
		pickles.WriteString("t.")
	}
	return append(hunk(pickles.Bytes()), hunk(nil)...)
}

func hunk(data []byte) []byte {
	var stored, whole bytes.Buffer
	writer := zlib.NewWriter(&stored)
	writer.Write(data)
	writer.Close()
	whole.Write([]byte{128 + 1, 1})
	binary.Write(&whole, binary.LittleEndian, crc32.ChecksumIEEE(data))
	binary.Write(&whole, binary.LittleEndian, uint64(stored.Len()))
	whole.Write(stored.Bytes())
	return whole.Bytes()
}

// --- the task -----------------------------------------------------------------------------------

func main() {
	ask("WORKER", map[string]any{"version": "1.1", "pid": os.Getpid()})
	_, text := ask("TASK", "")
	var task struct{ Stage string }
	must(json.Unmarshal(text, &task))
	fmt.Println("counting for the stage", task.Stage) // standard output is the task's log

	totals := map[string]int64{}
	add := func(word string, count int64) { totals[word] += count }
	var known []int
	for more := true; more; {
		var found []input
		found, more = inputs(known)
		for _, one := range found {
			file := open(one)
			if task.Stage == "map" {
				text, err := io.ReadAll(file)
				must(err)
				for _, word := range words.FindAllString(strings.ToLower(string(text)), -1) {
					add(word, 1)
				}
			} else {
				counted(file, add)
			}
			file.Close()
			known = append(known, one.id)
		}
	}

	byLabel := [labels]map[string]int64{}
	for word, count := range totals {
		hash := fnv.New32a()
		hash.Write([]byte(word))
		label := hash.Sum32() % labels
		if byLabel[label] == nil {
			byLabel[label] = map[string]int64{}
		}
		byLabel[label][word] = count
	}
	for label, counts := range byLabel {
		if counts == nil {
			continue
		}
		path := fmt.Sprintf("label-%d", label)
		data := chunk(counts)
		must(os.WriteFile(path, data, 0o600))
		ask("OUTPUT", []any{label, path, len(data)})
	}
	stop("DONE", "")
}
