;; The Internet checksum (RFC 1071) in SIMD, alone and while copying: `Sum` and `CopySum` of ../sum.ts over an imported
;; memory. The sum of byte-swapped words is the byte-swapped sum, so words are added in WebAssembly's little-endian order,
;; and the result is swapped at the end. An odd last byte is then the low half of a word.
;; Also the operations on all segments of a super-frame: `Cut` and `Join` of ../bulk.ts.
;;
;; One instruction adds neighboring words, but treats them as signed. Inverting the highest bit of each word makes it 32768
;; less than its unsigned value. The difference for eight words, 2^18, is added back for every 16 bytes.
;;
;; scripts/wasm.mjs compiles this to module.generated.ts.
(module
  (import "env" "memory" (memory 1))

  ;; Folds a sum below 2^48 to 16 bits. Each turn removes 16 bits; the third one removes the last carry.
  (func $fold (param $total i64) (result i32)
    (local $word i32)
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $word
      (i32.add
        (i32.and (i32.wrap_i64 (local.get $total)) (i32.const 0xffff))
        (i32.wrap_i64 (i64.shr_u (local.get $total) (i64.const 16)))))
    (i32.add (i32.and (local.get $word) (i32.const 0xffff)) (i32.shr_u (local.get $word) (i32.const 16))))

  (func $swap (param $word i32) (result i32)
    (i32.or
      (i32.shl (i32.and (local.get $word) (i32.const 0xff)) (i32.const 8))
      (i32.shr_u (local.get $word) (i32.const 8))))

  ;; Adds a sum in little-endian order to a partial sum in network order; the result is in network order.
  (func $finish (param $total i64) (param $initial i32) (result i32)
    (call $fold
      (i64.add (i64.extend_i32_u (local.get $initial)) (i64.extend_i32_u (call $swap (call $fold (local.get $total)))))))

  ;; The sum of the signed lanes.
  (func $lanes (param $v v128) (result i64)
    (i64.add
      (i64.add
        (i64.extend_i32_s (i32x4.extract_lane 0 (local.get $v)))
        (i64.extend_i32_s (i32x4.extract_lane 1 (local.get $v))))
      (i64.add
        (i64.extend_i32_s (i32x4.extract_lane 2 (local.get $v)))
        (i64.extend_i32_s (i32x4.extract_lane 3 (local.get $v))))))

  ;; Adds words in little-endian order. `$length` is at most 2^18.
  (func $add (param $at i32) (param $length i32) (result i64)
    (local $a v128) (local $b v128) (local $bias v128) (local $ones v128)
    (local $turns i32) (local $total i64) (local $word i64)
    (local.set $bias (v128.const i16x8 0x8000 0x8000 0x8000 0x8000 0x8000 0x8000 0x8000 0x8000))
    (local.set $ones (v128.const i16x8 1 1 1 1 1 1 1 1))
    (local.set $total (i64.shl (i64.extend_i32_u (i32.shr_u (local.get $length) (i32.const 4))) (i64.const 18)))
    ;; 64 bytes per turn, into two independent sums.
    (local.set $turns (i32.shr_u (local.get $length) (i32.const 6)))
    (if (local.get $turns)
      (then
        (loop $next64
          (local.set $a (i32x4.add (local.get $a)
            (i32x4.dot_i16x8_s (v128.xor (v128.load align=1 (local.get $at)) (local.get $bias)) (local.get $ones))))
          (local.set $b (i32x4.add (local.get $b)
            (i32x4.dot_i16x8_s (v128.xor (v128.load offset=16 align=1 (local.get $at)) (local.get $bias)) (local.get $ones))))
          (local.set $a (i32x4.add (local.get $a)
            (i32x4.dot_i16x8_s (v128.xor (v128.load offset=32 align=1 (local.get $at)) (local.get $bias)) (local.get $ones))))
          (local.set $b (i32x4.add (local.get $b)
            (i32x4.dot_i16x8_s (v128.xor (v128.load offset=48 align=1 (local.get $at)) (local.get $bias)) (local.get $ones))))
          (local.set $at (i32.add (local.get $at) (i32.const 64)))
          (br_if $next64 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
    (local.set $turns (i32.and (i32.shr_u (local.get $length) (i32.const 4)) (i32.const 3)))
    (if (local.get $turns)
      (then
        (loop $next16
          (local.set $a (i32x4.add (local.get $a)
            (i32x4.dot_i16x8_s (v128.xor (v128.load align=1 (local.get $at)) (local.get $bias)) (local.get $ones))))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $next16 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
    (local.set $total (i64.add (local.get $total) (call $lanes (i32x4.add (local.get $a) (local.get $b)))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (local.set $word (i64.load align=1 (local.get $at)))
        (local.set $total
          (i64.add (local.get $total)
            (i64.add
              (i64.and (local.get $word) (i64.const 0xffffffff))
              (i64.shr_u (local.get $word) (i64.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (local.set $word (i64.load32_u align=1 (local.get $at)))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (local.set $word (i64.load16_u align=1 (local.get $at)))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then
        (local.set $word (i64.load8_u (local.get $at)))
        (local.set $total (i64.add (local.get $total) (local.get $word)))))
    (local.get $total))

  (func (export "sum") (param $at i32) (param $length i32) (param $initial i32) (result i32)
    (call $finish (call $add (local.get $at) (local.get $length)) (local.get $initial)))

  ;; The same, with a copy.
  (func $addCopy (param $at i32) (param $to i32) (param $length i32) (result i64)
    (local $a v128) (local $b v128) (local $v v128) (local $bias v128) (local $ones v128)
    (local $turns i32) (local $total i64) (local $word i64)
    (local.set $bias (v128.const i16x8 0x8000 0x8000 0x8000 0x8000 0x8000 0x8000 0x8000 0x8000))
    (local.set $ones (v128.const i16x8 1 1 1 1 1 1 1 1))
    (local.set $total (i64.shl (i64.extend_i32_u (i32.shr_u (local.get $length) (i32.const 4))) (i64.const 18)))
    ;; 64 bytes per turn, into two independent sums.
    (local.set $turns (i32.shr_u (local.get $length) (i32.const 6)))
    (if (local.get $turns)
      (then
        (loop $next64
          (local.set $v (v128.load align=1 (local.get $at)))
          (v128.store align=1 (local.get $to) (local.get $v))
          (local.set $a (i32x4.add (local.get $a)
            (i32x4.dot_i16x8_s (v128.xor (local.get $v) (local.get $bias)) (local.get $ones))))
          (local.set $v (v128.load offset=16 align=1 (local.get $at)))
          (v128.store offset=16 align=1 (local.get $to) (local.get $v))
          (local.set $b (i32x4.add (local.get $b)
            (i32x4.dot_i16x8_s (v128.xor (local.get $v) (local.get $bias)) (local.get $ones))))
          (local.set $v (v128.load offset=32 align=1 (local.get $at)))
          (v128.store offset=32 align=1 (local.get $to) (local.get $v))
          (local.set $a (i32x4.add (local.get $a)
            (i32x4.dot_i16x8_s (v128.xor (local.get $v) (local.get $bias)) (local.get $ones))))
          (local.set $v (v128.load offset=48 align=1 (local.get $at)))
          (v128.store offset=48 align=1 (local.get $to) (local.get $v))
          (local.set $b (i32x4.add (local.get $b)
            (i32x4.dot_i16x8_s (v128.xor (local.get $v) (local.get $bias)) (local.get $ones))))
          (local.set $at (i32.add (local.get $at) (i32.const 64)))
          (local.set $to (i32.add (local.get $to) (i32.const 64)))
          (br_if $next64 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
    (local.set $turns (i32.and (i32.shr_u (local.get $length) (i32.const 4)) (i32.const 3)))
    (if (local.get $turns)
      (then
        (loop $next16
          (local.set $v (v128.load align=1 (local.get $at)))
          (v128.store align=1 (local.get $to) (local.get $v))
          (local.set $a (i32x4.add (local.get $a)
            (i32x4.dot_i16x8_s (v128.xor (local.get $v) (local.get $bias)) (local.get $ones))))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $to (i32.add (local.get $to) (i32.const 16)))
          (br_if $next16 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
    (local.set $total (i64.add (local.get $total) (call $lanes (i32x4.add (local.get $a) (local.get $b)))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (local.set $word (i64.load align=1 (local.get $at)))
        (i64.store align=1 (local.get $to) (local.get $word))
        (local.set $total
          (i64.add (local.get $total)
            (i64.add
              (i64.and (local.get $word) (i64.const 0xffffffff))
              (i64.shr_u (local.get $word) (i64.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (local.set $word (i64.load32_u align=1 (local.get $at)))
        (i64.store32 align=1 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (local.set $word (i64.load16_u align=1 (local.get $at)))
        (i64.store16 align=1 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then
        (local.set $word (i64.load8_u (local.get $at)))
        (i64.store8 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))))
    (local.get $total))

  (func (export "copySum") (param $at i32) (param $to i32) (param $length i32) (param $initial i32) (result i32)
    (call $finish (call $addCopy (local.get $at) (local.get $to) (local.get $length)) (local.get $initial)))

  ;; Swaps four octets.
  (func $reverse (param $word i32) (result i32)
    (i32.or
      (i32.and (i32.rotl (local.get $word) (i32.const 8)) (i32.const 0x00ff00ff))
      (i32.and (i32.rotr (local.get $word) (i32.const 8)) (i32.const 0xff00ff00))))

  ;; A partial sum in network order, below 2^31, as a word in little-endian order.
  (func $little (param $sum i32) (result i32)
    (local.set $sum
      (i32.add (i32.and (local.get $sum) (i32.const 0xffff)) (i32.shr_u (local.get $sum) (i32.const 16))))
    (local.set $sum
      (i32.add (i32.and (local.get $sum) (i32.const 0xffff)) (i32.shr_u (local.get $sum) (i32.const 16))))
    (call $swap (local.get $sum)))

  (func (export "cut")
    (param $head i32) (param $headLength i32) (param $ip i32) (param $upper i32) (param $field i32)
    (param $data i32) (param $size i32) (param $count i32) (param $to i32)
    (param $id i32) (param $step i32) (param $sequence i32) (param $ipSum i32) (param $upperSum i32)
    (result i32)
    (local $i i32) (local $at i32) (local $word i32)
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        ;; Copies the head, 16 bytes per turn; the data overwrites the excess.
        (local.set $i (i32.const 0))
        (loop $copy
          (v128.store align=1
            (i32.add (local.get $to) (local.get $i))
            (v128.load align=1 (i32.add (local.get $head) (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 16)))
          (br_if $copy (i32.lt_u (local.get $i) (local.get $headLength))))
        (if (i32.ge_s (local.get $ip) (i32.const 0))
          (then
            (local.set $at (i32.add (local.get $to) (local.get $ip)))
            (i32.store16 offset=4 align=1 (local.get $at) (call $swap (local.get $id)))
            (i32.store16 offset=10 align=1
              (local.get $at)
              (i32.xor (call $little (i32.add (local.get $ipSum) (local.get $id))) (i32.const 0xffff)))
            (local.set $id (i32.and (i32.add (local.get $id) (local.get $step)) (i32.const 0xffff)))))
        (local.set $at (i32.add (local.get $to) (local.get $upper)))
        (local.set $word (local.get $upperSum))
        (if (i32.eq (local.get $field) (i32.const 16))
          (then
            (i32.store offset=4 align=1 (local.get $at) (call $reverse (local.get $sequence)))
            (local.set $word
              (i32.add
                (local.get $word)
                (i32.add
                  (i32.shr_u (local.get $sequence) (i32.const 16))
                  (i32.and (local.get $sequence) (i32.const 0xffff)))))
            (local.set $sequence (i32.add (local.get $sequence) (local.get $size)))))
        (local.set $to (i32.add (local.get $to) (local.get $headLength)))
        (local.set $word
          (i32.xor
            (call $fold
              (i64.add
                (call $addCopy (local.get $data) (local.get $to) (local.get $size))
                (i64.extend_i32_u (call $little (local.get $word)))))
            (i32.const 0xffff)))
        ;; UDP replaces a checksum of 0 by 0xffff, because 0 means no checksum (RFC 768).
        (if (i32.and (i32.eqz (local.get $word)) (i32.ne (local.get $field) (i32.const 16)))
          (then (local.set $word (i32.const 0xffff))))
        (i32.store16 align=1 (i32.add (local.get $at) (local.get $field)) (local.get $word))
        (local.set $data (i32.add (local.get $data) (local.get $size)))
        (local.set $to (i32.add (local.get $to) (local.get $size)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br_if $next (local.get $count))))
    (local.get $to))

  (func (export "join")
    (param $head i32) (param $mask i32) (param $headLength i32) (param $ip i32) (param $upper i32) (param $field i32)
    (param $next i32) (param $size i32) (param $count i32) (param $to i32)
    (param $id i32) (param $step i32) (param $sequence i32) (param $ipSum i32) (param $upperSum i32) (param $gap i32)
    (result i32)
    (local $i i32) (local $at i32) (local $word i32) (local $joined i32)
    (local.set $size (i32.sub (local.get $size) (local.get $headLength)))
    (block $done
      (loop $again
        (br_if $done (i32.ge_u (local.get $joined) (local.get $count)))
        (local.set $i (i32.const 0))
        (loop $compare
          (br_if $done
            (v128.any_true
              (v128.and
                (v128.xor
                  (v128.load align=1 (i32.add (local.get $head) (local.get $i)))
                  (v128.load align=1 (i32.add (local.get $next) (local.get $i))))
                (v128.load align=1 (i32.add (local.get $mask) (local.get $i))))))
          (local.set $i (i32.add (local.get $i) (i32.const 16)))
          (br_if $compare (i32.lt_u (local.get $i) (local.get $headLength))))
        ;; The rest of the head equals the first one's, so its sums are equal, too.
        (if (i32.ge_s (local.get $ip) (i32.const 0))
          (then
            (local.set $at (i32.add (local.get $next) (local.get $ip)))
            (br_if $done (i32.ne (i32.load16_u offset=4 align=1 (local.get $at)) (call $swap (local.get $id))))
            (br_if $done
              (i32.ne
                (i32.load16_u offset=10 align=1 (local.get $at))
                (i32.xor (call $little (i32.add (local.get $ipSum) (local.get $id))) (i32.const 0xffff))))
            (local.set $id (i32.and (i32.add (local.get $id) (local.get $step)) (i32.const 0xffff)))))
        (local.set $at (i32.add (local.get $next) (local.get $upper)))
        (local.set $word (i32.load16_u align=1 (i32.add (local.get $at) (local.get $field))))
        (if (i32.eq (local.get $field) (i32.const 16))
          (then
            (br_if $done
              (i32.ne (i32.load offset=4 align=1 (local.get $at)) (call $reverse (local.get $sequence))))
            (br_if $done (i32.eq (local.get $word) (i32.const 0xffff)))
            (local.set $word
              (i32.add
                (local.get $word)
                (call $little
                  (i32.add
                    (local.get $upperSum)
                    (i32.add
                      (i32.shr_u (local.get $sequence) (i32.const 16))
                      (i32.and (local.get $sequence) (i32.const 0xffff)))))))
            (local.set $sequence (i32.add (local.get $sequence) (local.get $size))))
          (else
            (br_if $done (i32.eqz (local.get $word)))
            (local.set $word (i32.add (local.get $word) (call $little (local.get $upperSum))))))
        (local.set $next (i32.add (local.get $next) (local.get $headLength)))
        (br_if $done
          (i32.ne
            (call $fold
              (i64.add
                (call $addCopy (local.get $next) (local.get $to) (local.get $size))
                (i64.extend_i32_u (local.get $word))))
            (i32.const 0xffff)))
        (local.set $next (i32.add (i32.add (local.get $next) (local.get $size)) (local.get $gap)))
        (local.set $to (i32.add (local.get $to) (local.get $size)))
        (local.set $joined (i32.add (local.get $joined) (i32.const 1)))
        (br $again)))
    (local.get $joined)))
