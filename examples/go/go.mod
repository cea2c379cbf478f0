module pocketrnn.example/classify

go 1.21

require pocketrnn.example/engine v0.1.0

replace pocketrnn.example/engine => ../../runtime/native/src
