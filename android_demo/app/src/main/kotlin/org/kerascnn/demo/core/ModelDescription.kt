package org.kerascnn.demo.core

import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.math.max

enum class Task { CLASSIFICATION, MULTILABEL, DETECTION, SEGMENTATION }

/** Of the numbers in an input or output. */
enum class NumberType(val bytes: Int) { FLOAT32(4), INT32(4), UINT8(1) }

/**
 * How a picture comes to the network's size; see kerascnn/preprocessing.py.
 *
 * @param filling what is around a picture that does not fill the input.
 */
enum class Resize(val filling: Byte = 0) { STRETCH, PAD, CROP, CENTRE, LETTERBOX(114) }

/** How it is resized: by Pillow's filters. `reach` is in pixels. */
enum class Interpolation(val reach: Int) {
    BILINEAR(1),
    BICUBIC(2),
    ;

    /** Of a pixel at a distance; of BICUBIC Keys' cubic convolution with a = -0.5. */
    fun weight(distance: Double): Double {
        val x = abs(distance)
        return when {
            this == BILINEAR -> max(0.0, 1 - x)
            x < 1 -> (1.5 * x - 2.5) * x * x + 1
            x < 2 -> (((x - 5) * x + 8) * x - 4) * -0.5
            else -> 0.0
        }
    }
}

/**
 * What the network is given.
 *
 * @param raw whether it takes bytes as they are; otherwise (byte - mean) / std.
 * @param mean one number a channel, as `std`, in the network's order; empty where raw.
 * @param reversed whether blue comes first.
 * @param cropFraction share of the resized picture that CROP and CENTRE keep.
 */
data class InputSpec(
    val name: String,
    val height: Int,
    val width: Int,
    val channels: Int,
    val type: NumberType,
    val raw: Boolean,
    val mean: List<Float>,
    val std: List<Float>,
    val reversed: Boolean = false,
    val resize: Resize = Resize.STRETCH,
    val cropFraction: Double = 0.875,
    val interpolation: Interpolation = Interpolation.BILINEAR,
)

/** @param tensor its name in the file, where that is known. */
data class OutputSpec(val name: String, val tensor: String?, val meaning: String)

/** What becomes of the outputs. */
sealed interface Decoding {
    /** The data's own colours, opaque ARGB, one a class; null for ours. */
    val palette: IntArray?
        get() = null

    /** Softmax of "logits". */
    data object Logits : Decoding

    /** Sigmoid of each of "logits"; labels are those whose score is [threshold] at least. */
    data class Sigmoid(val threshold: Float) : Decoding

    /** "probabilities" as they are. */
    data object Probabilities : Decoding

    /** "scores" as they are; labels are those whose score is [threshold] at least. */
    data class Scores(val threshold: Float) : Decoding

    /** "boxes", "labels", "scores", "count" and perhaps "masks", found inside of the file. */
    data object Detections : Decoding

    /** "boxes" as corrections of anchors, and "scores" of all classes. */
    data class Codes(val detector: DetectorSpec) : Decoding

    /** "map" of classes. */
    class ClassMap(override val palette: IntArray?) : Decoding

    /** "logits" of every pixel. */
    class MapLogits(override val palette: IntArray?) : Decoding
}

/**
 * Numbers of a detector's post-processing; see kerascnn/detection/postprocess.py.
 *
 * @param background whether it is the first of the classes that have scores.
 * @param softNmsSigma of Soft-NMS's Gaussian; null where what overlaps is dropped.
 * @param classAgnostic whether classes suppress one another.
 */
data class DetectorSpec(
    val levels: List<AnchorLevel>,
    val boxScales: List<Float>,
    val background: Boolean,
    val scoreThreshold: Float,
    val iouThreshold: Float,
    val maxDetections: Int,
    val candidates: Int,
    val softNmsSigma: Float? = null,
    val classAgnostic: Boolean = false,
)

/**
 * What an exported file says of itself: its kerascnn.json.
 *
 * @param selfTest null in files without one, or with one by a later formula.
 */
data class ModelDescription(
    val task: Task,
    val model: String,
    val variant: String,
    val name: String,
    val description: String,
    val author: String,
    val license: String,
    val version: String,
    val labels: List<String>,
    val input: InputSpec,
    val outputs: List<OutputSpec>,
    val decoding: Decoding,
    val selfTest: SelfTest? = null,
) {
    companion object {
        /**
         * Read a .tflite file, which may come from anywhere.
         *
         * @throws ModelProblem it is none, or does not describe itself, or makes no sense.
         */
        fun read(file: ByteBuffer): ModelDescription {
            if (!isModel(file)) throw ModelProblem(ModelProblem.Kind.NOT_A_MODEL, "TFL3")
            val json = StoredZip.entry(file, NAME)
                ?: throw ModelProblem(ModelProblem.Kind.NO_METADATA, NAME)
            return DescriptionReader.read(json)
        }

        private fun isModel(file: ByteBuffer): Boolean =
            file.limit() >= 8 && String(file.bytes(4, 4), Charsets.ISO_8859_1) == "TFL3"

        private const val NAME = "kerascnn.json"
    }
}
