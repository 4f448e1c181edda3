package org.kerascnn.demo.core

/** The self-test of a description; what is refused here is refused by export/artefacts/selftest.py. */
internal object SelfTestReader {
    private const val EDITION = 1
    private const val MOST_OUTPUTS = 8
    private const val MOST_VALUES = 256
    private const val MOST_CLASS = 65535
    private const val LONGEST_RUNTIME = 80
    private const val LARGEST = 1e30
    private val KINDS = listOf("numbers", "map", "detections")

    /** @return null without one, or of one by a later formula. */
    fun read(description: Fields): SelfTest? {
        if (!description.has("selftest")) return null
        val fields = description.inside("selftest")
        if (fields.whole("edition", 1..Int.MAX_VALUE) > EDITION) return null
        val runtime = fields.text("runtime")
        fields.demand(runtime.codePointCount(0, runtime.length) <= LONGEST_RUNTIME, "runtime")
        val (tolerance, half) = listOf("tolerance", "half").map { name ->
            fields.number(name) { it > 0 && it <= 1 }
        }
        if (fields.holds("float")) fields.number("float", ::isNumber)
        val kind = KINDS.filter(fields::holds).singleOrNull()
        val expected = when (kind) {
            "numbers" -> SelfTest.Numbers(digests(fields))
            "map" -> classes(fields)
            "detections" -> detections(fields.inside("detections"))
            else -> throw DescriptionReader.broken("selftest")
        }
        return SelfTest(tolerance, half, expected)
    }

    private fun digests(fields: Fields): List<SelfTest.Digest> {
        val outputs = fields.nameless("numbers")
        fields.demand(outputs.size in 1..MOST_OUTPUTS, "numbers")
        return outputs.map { one ->
            fields.demand(one.isText("name"), "numbers")
            val size = one.whole("size", 1..Int.MAX_VALUE)
            val span = one.number("span") { it > 0 && isNumber(it) }
            val mean = one.number("mean", ::isNumber)
            val values = one.list("values") { finite(it)?.takeIf(::isNumber) }
            one.demand(values.size <= minOf(size, MOST_VALUES), "values")
            val top = one.numbered("top", ::isNumber)
            one.demand(top.size <= MOST_VALUES && top.all { (place, _) -> place < size }, "top")
            SelfTest.Digest(one.text("name"), size, span, mean, top, values)
        }
    }

    private fun classes(fields: Fields): SelfTest.Classes {
        val map = fields.inside("map")
        fields.demand(map.isText("name"), "map")
        val size = map.whole("size", 1..Int.MAX_VALUE)
        val classes = map.list("classes") { one -> (one as? Int)?.takeIf { it in 0..MOST_CLASS } }
        map.demand(classes.size <= minOf(size, MOST_VALUES), "classes")
        return SelfTest.Classes(map.text("name"), size, classes)
    }

    private fun detections(fields: Fields): SelfTest.Detections {
        val floor = fields.number("floor", ::isShare)
        val none = fields.isEmpty("scores")
        val scores = if (none) emptyList<Double>() else fields.list("scores") { finite(it)?.takeIf(::isShare) }
        fields.demand(scores.size <= MOST_VALUES, "scores")
        if (none) return SelfTest.Detections(floor, scores, null)
        val label = fields.whole("label", 0..MOST_CLASS)
        val box = fields.list("box") { finite(it)?.takeIf(::isNumber) }
        fields.demand(box.size == 4, "box")
        val mask = if (fields.holds("mask")) fields.number("mask", ::isNumber) else null
        return SelfTest.Detections(floor, scores, SelfTest.Best(label, box, mask))
    }

    private fun isNumber(value: Double) = value <= LARGEST && value >= -LARGEST

    private fun isShare(value: Double) = value in 0.0..1.0
}
