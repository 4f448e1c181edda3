package org.kerascnn.demo.core

import kotlin.math.exp
import kotlin.math.min

/** What a network gave under a name. */
class Output(val shape: IntArray, val values: FloatArray)

/** From what a network gives to answers, by what its file says. */
class Decoder(private val description: ModelDescription) {
    private val classes = description.labels.size
    private val input = description.input
    private val suppression =
        (description.decoding as? Decoding.Codes)?.let { Suppression(it.detector, classes) }
    private val maps = ClassMaps(input)

    /** A class for each number of a map, in the network's place. */
    private var found = ByteArray(0)

    /**
     * @param placement where the picture lay on the input.
     * @throws ModelProblem outputs that are not what the file says.
     */
    fun decode(outputs: Map<String, Output>, placement: Placement): Answer =
        when (val decoding = description.decoding) {
            is Decoding.Logits ->
                Answer.Labels(likeliest(softmax(outputs.named("logits", classes).values)))
            is Decoding.Probabilities ->
                Answer.Labels(likeliest(doubles(outputs.named("probabilities", classes).values)))
            is Decoding.Sigmoid -> {
                val logits = outputs.named("logits", classes).values
                Answer.Labels(sure(FloatArray(classes) { sigmoid(logits[it]) }, decoding.threshold))
            }
            is Decoding.Scores ->
                Answer.Labels(sure(outputs.named("scores", classes).values, decoding.threshold))
            is Decoding.Detections -> Answer.Boxes(given(outputs, placement))
            is Decoding.Codes -> Answer.Boxes(selected(outputs, placement))
            is Decoding.ClassMap -> classMap(outputs, "map", 1, placement)
            is Decoding.MapLogits -> classMap(outputs, "logits", classes, placement)
        }

    private fun doubles(numbers: FloatArray) = DoubleArray(numbers.size) { numbers[it].toDouble() }

    private fun likeliest(probabilities: DoubleArray): List<Scored> {
        if (probabilities.any { it.isNaN() }) throw broken("logits")
        return best(probabilities, min(TOP, classes)).map { Scored(it, probabilities[it].toFloat()) }
    }

    /** Places of the largest, equal ones in their order. Nothing is sorted: there may be thousands. */
    private fun best(numbers: DoubleArray, most: Int): IntArray {
        val best = IntArray(most)
        var count = 0
        for (i in numbers.indices) {
            var at = count
            while (at > 0 && numbers[best[at - 1]] < numbers[i]) at--
            if (at == most) continue
            if (count < most) count++
            for (later in count - 1 downTo at + 1) best[later] = best[later - 1]
            best[at] = i
        }
        return best
    }

    /** All classes whose score reaches the threshold, the surest first; perhaps none. */
    private fun sure(scores: FloatArray, threshold: Float): List<Scored> {
        if (scores.any(Float::isNaN)) throw broken("logits")
        return scores.indices
            .map { Scored(it, scores[it]) }
            .filter { it.score >= threshold }
            .sortedByDescending { it.score }
    }

    private fun given(outputs: Map<String, Output>, placement: Placement): List<Detection> {
        val scores = outputs.named("scores").values
        val boxes = outputs.named("boxes", scores.size, 4).values
        val labels = outputs.named("labels", scores.size).values
        val count = outputs.named("count", 1).values[0]
        val masks = outputs["masks"]?.let { masks(it, scores.size) }
        val most = if (count.isNaN()) 0 else min(count.toInt(), scores.size)
        return (0 until most).mapNotNull { i ->
            val box = boxes.copyOfRange(4 * i, 4 * i + 4)
            val numbers = box.all(Float::isFinite) && scores[i].isFinite() && labels[i] >= 0
            if (!numbers) return@mapNotNull null
            detection(labels[i].toInt(), scores[i], box, placement, masks?.get(i))
        }
    }

    private fun masks(output: Output, count: Int): List<Mask> {
        val side = output.shape.lastOrNull() ?: 0
        val all = count.toLong() * side * side
        if (side < 1 || output.values.size.toLong() != all) throw broken("masks")
        val cells = side * side
        return List(count) { Mask(side, output.values, it * cells) }
    }

    private fun selected(outputs: Map<String, Output>, placement: Placement): List<Detection> {
        val suppression = checkNotNull(suppression)
        val codes = outputs.named("boxes", suppression.count, 4).values
        val scores = outputs.named("scores", suppression.columns, suppression.count).values
        if (codes.any(Float::isNaN)) throw broken("boxes")
        if (scores.any(Float::isNaN)) throw broken("scores")
        return suppression.select(codes, scores)
            .map { detection(it.label, it.score, it.box, placement, null) }
    }

    private fun detection(
        label: Int,
        score: Float,
        box: FloatArray,
        placement: Placement,
        mask: Mask?,
    ): Detection {
        if (label >= classes) throw broken("labels")
        val whole = unclipped(box, placement)
        val seen = whole.map { it.coerceIn(0f, 1f) }
        val (top, left, bottom, right) = seen
        val part = if (seen == whole) mask else mask?.reframed(whole, seen)
        return Detection(label, score, top, left, bottom, right, part)
    }

    /** A box in shares of the input as shares of the picture, clipped to it. */
    internal fun onPicture(box: FloatArray, place: Placement): List<Float> =
        unclipped(box, place).map { it.coerceIn(0f, 1f) }

    private fun unclipped(box: FloatArray, place: Placement): List<Float> =
        box.mapIndexed { i, share ->
            val pixels = share.toDouble() * if (i % 2 == 0) input.height else input.width
            val begin = if (i % 2 == 0) place.top else place.left
            val length = if (i % 2 == 0) place.height else place.width
            ((pixels - begin) / length).toFloat()
        }

    /** @param depth numbers a pixel: its class, or how likely each is. */
    private fun classMap(
        outputs: Map<String, Output>,
        name: String,
        depth: Int,
        placement: Placement,
    ): Answer {
        val output = outputs.named(name)
        val (height, width) = listOf(1, 2).map { output.shape.getOrElse(it) { 0 } }
        val fits = height in 1..input.height && width in 1..input.width
        val all = height.toLong() * width * depth
        if (!fits || output.values.size.toLong() != all) throw broken(name)
        if (found.size != height * width) found = ByteArray(height * width)
        for (pixel in found.indices) {
            val label = if (depth > 1) best(output.values, pixel * depth) else whole(output.values[pixel])
            if (label !in 0 until classes) throw broken(name)
            found[pixel] = label.toByte()
        }
        return maps.onPicture(found, width, height, placement)
    }

    /** A class; none of those there are for what is no number. */
    private fun whole(label: Float): Int = if (label >= 0) label.toInt() else -1

    private fun best(logits: FloatArray, begin: Int): Int {
        var best = 0
        for (i in 1 until classes) if (logits[begin + i] > logits[begin + best]) best = i
        return best
    }

    /** An output with as many numbers as the product of the sides, where some are given. */
    private fun Map<String, Output>.named(name: String, vararg sides: Int): Output {
        val output = this[name] ?: throw broken(name)
        val count = sides.fold(1L) { product, side -> product * side }
        if (sides.isNotEmpty() && output.values.size.toLong() != count) throw broken(name)
        return output
    }

    private fun broken(output: String) = ModelProblem(ModelProblem.Kind.BROKEN, output)

    companion object {
        /** How many classes an answer has at most. */
        const val TOP = 5

        internal fun sigmoid(logit: Float): Float = (1 / (1 + exp(-logit.toDouble()))).toFloat()

        internal fun softmax(logits: FloatArray): DoubleArray {
            var most = Float.NEGATIVE_INFINITY
            for (logit in logits) most = maxOf(most, logit)
            val powers = DoubleArray(logits.size) { exp(logits[it].toDouble() - most) }
            val sum = powers.sum()
            for (at in powers.indices) powers[at] /= sum
            return powers
        }
    }
}
